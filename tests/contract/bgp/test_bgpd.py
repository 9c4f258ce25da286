"""What the reconciler relies on, tested on the fake and on a real bgpd, by vtysh and by the vty socket."""

from dataclasses import replace
from ipaddress import IPv4Network, ip_address

import pytest

from contract.bgpd_subjects import Subject, apply, assert_is, needs_bgpd
from contract.frr import HUB, RealBgpd
from dmvpn_agent.bgp.bgpd import FrrRefused, FrrUnavailable
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Desired, Neighbor, list_name
from dmvpn_agent.bgp.plan import AddEntry, Change, SetNeighbor, plan
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.problems import bgp_problems
from dmvpn_agent.policy.peer import Peer, PeerKind
from factories import SETTINGS, spoke
from fakes.frr_states import FULL, wanted

NET = Entry(permit=True, prefix=IPv4Network("192.168.2.0/24"), le=26)


async def test_what_was_applied_is_observed(subject: Subject) -> None:
    """After one batch FRR is in sync."""
    goal = wanted([spoke(2), spoke(3, "192.168.3.0/24", "192.168.0.0/22", "192.168.1.0/28")])
    await apply(subject, goal)
    await assert_is(subject, goal)
    sessions = (await subject.bgpd.observe()).sessions
    assert sessions.keys() == goal.neighbors.keys()
    assert all(session.state != "Established" for session in sessions.values())


@pytest.mark.parametrize(
    "then",
    [
        [],
        [spoke(2, "192.168.9.0/24")],
        [spoke(2, "192.168.2.0/25", "192.168.9.0/24"), spoke(4)],
        [spoke(2, as_number=64999)],
        [spoke(2, fingerprint="ab" * 32)],
    ],
    ids=["removed", "other network", "more", "other AS", "renewed"],
)
async def test_any_change_of_peers_is_applied(subject: Subject, then: list[Peer]) -> None:
    """Removing, editing a list in use, changing a neighbor."""
    await apply(subject, wanted([spoke(2), spoke(3)]))
    await apply(subject, wanted(then))
    await assert_is(subject, wanted(then))


async def test_both_families_hubs_and_ibgp_are_applied(subject: Subject) -> None:
    """And removed again. A peer that becomes IPv4 only keeps its session."""
    peers = [
        spoke(2, "192.168.2.0/24", "2001:db8:2::/48"),
        replace(spoke(3), kind=PeerKind.HUB),
        spoke(4, "2001:db8:4::/48", as_number=65000),
    ]
    for goal in (wanted(peers, FULL), wanted(peers, replace(FULL, ipv6=False)), wanted(peers, FULL), wanted([])):
        await apply(subject, goal)
        await assert_is(subject, goal)


async def test_a_transaction_gives_the_same_lists_as_single_lines(subject: Subject) -> None:
    """New, edited and removed lists in one transaction."""
    many = [spoke(number, f"192.168.{number}.0/24", f"172.16.{number}.0/24") for number in range(2, 60)]
    fewer = [spoke(number, f"192.168.{number}.0/24", f"10.0.{number}.0/24") for number in range(2, 40)]
    for goal in (wanted(many), wanted(fewer), wanted([])):
        await apply(subject, goal)
        await assert_is(subject, goal)


async def test_a_neighbor_in_another_group_is_recreated(subject: Subject) -> None:
    """bgpd refuses to change the peer-group in place."""
    await apply(subject, wanted([spoke(2)]))
    subject.type("configure terminal", "router bgp 65000", "no neighbor 10.255.0.2",
                 "neighbor 10.255.0.2 remote-as 64514", "neighbor 10.255.0.2 description dmvpn-agent x",
                 "neighbor 10.255.0.2 peer-group others", "end")  # fmt: skip
    await apply(subject, wanted([spoke(2)]))
    await assert_is(subject, wanted([spoke(2)]))


async def test_a_misplaced_deny_any_is_corrected_in_one_pass(subject: Subject) -> None:
    """FRR ignores an entry that the list has at another seq."""
    await apply(subject, wanted([spoke(2)]))
    name = "ip prefix-list dmvpn-agent-10.255.0.2-in"
    subject.type("configure terminal", f"no {name} seq 4294967295 deny any", f"{name} seq 3 deny any", "end")
    await apply(subject, wanted([spoke(2)]))
    await assert_is(subject, wanted([spoke(2)]))


async def test_the_operators_configuration_stays(subject: Subject) -> None:
    """Neighbors, lists and groups that are not the agent's do not change."""
    subject.type("configure terminal", "ip prefix-list operators seq 5 permit 10.0.0.0/8 le 24", "router bgp 65000",
                 "neighbor 10.255.0.77 remote-as 64999", "neighbor 10.255.0.77 description mine", "end")  # fmt: skip
    before = (await subject.bgpd.observe()).config
    await apply(subject, wanted([spoke(2)]))
    await apply(subject, wanted([]))
    assert (await subject.bgpd.observe()).config == before


async def test_a_refused_change_ends_the_batch(subject: Subject) -> None:
    """Earlier changes stay, later ones are not written, and the error has FRR's message."""
    goal = wanted([spoke(2)])
    neighbor = replace(goal.neighbors[ip_address("10.255.0.2")], peer_group="absent")
    batch: list[Change] = [
        AddEntry("dmvpn-agent-a-in", 5, NET),
        SetNeighbor(neighbor, Neighbor(neighbor.address)),
        AddEntry("dmvpn-agent-b-in", 5, NET),
    ]
    with pytest.raises(FrrRefused, match=r"% Configure the peer-group first"):
        await subject.bgpd.apply(batch)
    assert (await subject.bgpd.observe()).config.prefix_lists.keys() == {"dmvpn-agent-a-in"}


async def test_a_killed_bgpd_is_unavailable_until_it_is_back(subject: Subject) -> None:
    """For reading and writing; the same adapter works again after the restart."""
    subject.kill()
    with pytest.raises(FrrUnavailable, match="bgpd is not running"):
        await subject.bgpd.observe()
    with pytest.raises(FrrUnavailable, match="bgpd is not running"):
        await subject.bgpd.apply([AddEntry("dmvpn-agent-a-in", 5, NET)])
    subject.start()
    await apply(subject, wanted([spoke(2)]))
    await assert_is(subject, wanted([spoke(2)]))


async def test_the_neighbor_of_a_peer_moves_between_its_addresses(subject: Subject) -> None:
    """From IPv6 to IPv4 and back; each neighbor has a filter for both IP versions."""
    both = replace(SETTINGS, ipv6=True)
    ipv4 = spoke(2, "192.168.2.0/24", "2001:db8:2::/48")
    ipv6 = replace(ipv4, protocol_address=ip_address("2001:db8:ff::2"))
    for peers, carrier in (([ipv6], ipv6), ([ipv6, ipv4], ipv4), ([ipv6], ipv6)):
        goal = desired(peers, both)
        await subject.bgpd.apply(plan(goal, (await subject.bgpd.observe()).config).changes)
        observed = (await subject.bgpd.observe()).config
        assert plan(goal, observed).changes == ()
        assert list(observed.neighbors) == [carrier.protocol_address]
        assert set(observed.prefix_lists) == {list_name(carrier.protocol_address, version) for version in (4, 6)}


@needs_bgpd
@pytest.mark.parametrize("word", ["65000", "internal"])
async def test_a_groups_as_number_is_not_a_difference(word: str) -> None:
    """bgpd prints it at the group and not at its neighbors."""
    real = RealBgpd(HUB.replace(" neighbor internal peer-group\n",
                                f" neighbor internal peer-group\n neighbor internal remote-as {word}\n"))  # fmt: skip
    real.start()
    try:
        goal = wanted([spoke(4, as_number=65000)], FULL)
        bgpd = real.adapter()
        await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
        assert plan(goal, (await bgpd.observe()).config).changes == ()
    finally:
        real.stop()


@pytest.mark.contract
@needs_bgpd
class TestRealBgpd:
    """What only the real one can show."""

    async def test_a_missing_bgp_instance_is_reported(self, real: RealBgpd) -> None:
        """A bgpd without configuration is not an unavailable one."""
        real.fresh("configure terminal", "no router bgp")
        observed = (await real.adapter().observe()).config
        (problem,) = bgp_problems(observed, SETTINGS, Desired())
        assert str(problem) == "FRR has no BGP instance; add `router bgp 65000`"

    async def test_unnumbered_neighbors_are_ignored(self, real: RealBgpd) -> None:
        """They are the operator's."""
        real.fresh("configure terminal", "router bgp 65000", "neighbor eth9 interface remote-as external")
        await real.adapter().apply(plan(wanted([spoke(2)]), (await real.adapter().observe()).config).changes)
        assert [str(address) for address in (await real.adapter().observe()).sessions] == ["10.255.0.2"]

    async def test_a_large_batch_is_applied(self, real: RealBgpd) -> None:
        """It needs several runs of vtysh."""
        real.fresh()
        goal = wanted(
            [
                replace(spoke(2), protocol_address=ip_address("10.255.1.0") + number, identity=f"spoke{number}")
                for number in range(200)
            ]
        )
        changes = plan(goal, (await real.adapter().observe()).config).changes
        assert len(changes) == 600
        await real.adapter().apply(changes)
        assert plan(goal, (await real.adapter().observe()).config).changes == ()
