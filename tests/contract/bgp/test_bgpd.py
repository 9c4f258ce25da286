"""What the reconciler relies on, tested on the fake and on a real bgpd, by vtysh and by the vty socket."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract.frr import HUB, SPEAKER, RealBgpd, available
from dmvpn_agent.addresses import Network
from dmvpn_agent.bgp.bgpd import Bgpd, FrrRefused, FrrUnavailable
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.neighbors import DENY_ANY, DENY_ANY_IPV6, DENY_ANY_SEQ, Desired, Neighbor, Observed, list_name
from dmvpn_agent.bgp.plan import AddEntry, Change, SetNeighbor, plan
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.problems import bgp_problems
from dmvpn_agent.bgp.running_config import parse_running_config
from dmvpn_agent.bgp.sessions import parse_bgp_summary
from dmvpn_agent.bgp.settings import BgpSettings, Instance
from dmvpn_agent.bgp.vtysh_lines import render
from dmvpn_agent.frr.vtysh import Vtysh
from dmvpn_agent.policy.peer import Peer, PeerKind
from factories import SETTINGS, spoke
from fakes.bgpd_model import BgpdModel
from fakes.frr import FakeBgpd
from fakes.frr_states import FULL, Edit, choices, edits, lines_for, populations, wanted
from fakes.waiting import until_now

NET = Entry(permit=True, prefix=IPv4Network("192.168.2.0/24"), le=26)

needs_bgpd = pytest.mark.skipif(not available(), reason="needs root and FRR's bgpd")


class Subject(Protocol):
    """A bgpd with the hub's configuration, and what may happen to it."""

    bgpd: Bgpd

    def type(self, *lines: str) -> object: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class FakeSubject:
    def __init__(self) -> None:
        self.fake = FakeBgpd()
        self.bgpd: Bgpd = self.fake

    def type(self, *lines: str) -> None:
        self.fake.model.run(lines)

    def kill(self) -> None:
        self.fake.down = True

    def start(self) -> None:
        self.fake.model, self.fake.down = BgpdModel(), False


class RealSubject:
    def __init__(self, real: RealBgpd, reader: str, writer: str) -> None:
        self.real = real
        self.bgpd: Bgpd = real.adapter(reader, writer)

    def type(self, *lines: str) -> str:
        return self.real.type(*lines)

    def kill(self) -> None:
        self.real.kill()

    def start(self) -> None:
        self.real.start()


@pytest.fixture(scope="module")
def real() -> Iterator[RealBgpd]:
    real = RealBgpd()
    real.start()
    yield real
    real.stop()


@pytest.fixture(
    params=[
        "fake",
        *(
            pytest.param(
                terminals,
                marks=[pytest.mark.contract, needs_bgpd],
                id=f"read by {terminals[0]}, written by {terminals[1]}",
            )
            for terminals in [("vtysh", "vtysh"), ("vty", "vtysh"), ("vty", "vty")]
        ),
    ]
)
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return FakeSubject()
    real: RealBgpd = request.getfixturevalue("real")
    real.fresh()
    return RealSubject(real, *request.param)


async def _apply(subject: Subject, goal: Desired) -> None:
    await subject.bgpd.apply(plan(goal, (await subject.bgpd.observe()).config).changes)


async def _assert_is(subject: Subject, goal: Desired) -> None:
    observed = (await subject.bgpd.observe()).config
    assert plan(goal, observed).changes == ()
    assert observed.neighbors == goal.neighbors
    last = {DENY_ANY, DENY_ANY_IPV6}
    assert {name: frozenset(entries.values()) - last for name, entries in observed.prefix_lists.items()} == (
        goal.prefix_lists
    )
    assert all(entries[DENY_ANY_SEQ] in last for entries in observed.prefix_lists.values())


async def test_what_was_applied_is_observed(subject: Subject) -> None:
    """After one batch FRR is in sync."""
    goal = wanted([spoke(2), spoke(3, "192.168.3.0/24", "192.168.0.0/22", "192.168.1.0/28")])
    await _apply(subject, goal)
    await _assert_is(subject, goal)
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
    await _apply(subject, wanted([spoke(2), spoke(3)]))
    await _apply(subject, wanted(then))
    await _assert_is(subject, wanted(then))


async def test_both_families_hubs_and_ibgp_are_applied(subject: Subject) -> None:
    """And removed again. A peer that becomes IPv4 only keeps its session."""
    peers = [
        spoke(2, "192.168.2.0/24", "2001:db8:2::/48"),
        replace(spoke(3), kind=PeerKind.HUB),
        spoke(4, "2001:db8:4::/48", as_number=65000),
    ]
    for goal in (wanted(peers, FULL), wanted(peers, replace(FULL, ipv6=False)), wanted(peers, FULL), wanted([])):
        await _apply(subject, goal)
        await _assert_is(subject, goal)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


EVERYTHING = tuple((network, network.max_prefixlen) for network in _networks("0.0.0.0/0", "::/0"))
WITHHELD = _networks("10.1.0.0/16", "192.168.2.128/25", "2001:db8:1::/48")
#: A hub that announces everything, the same with a default route, and a spoke with the default route.
CARRIERS = (
    replace(spoke(2), kind=PeerKind.HUB, transit=EVERYTHING, withheld=WITHHELD),
    replace(spoke(3), kind=PeerKind.HUB, transit=EVERYTHING, withheld=WITHHELD, default_route=True),
    replace(spoke(4, "0.0.0.0/0", "::/0"), withheld=WITHHELD, default_route=True),
)
ANNOUNCED = _networks(
    "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "10.0.0.0/15", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32",
    "10.2.0.0/16",
    "192.168.2.0/24", "192.168.2.0/25", "192.168.2.128/25", "192.168.2.192/26", "::/0", "2001:db8::/32",
    "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8:2::/48", "2001:db8:1::1/128", "::ffff:10.1.0.0/112",
)  # fmt: skip


@needs_bgpd
async def test_bgpd_evaluates_a_filter_as_the_model_does(real: RealBgpd) -> None:
    """FRR's own answer: no prefix that overlaps a withheld network, and the default route only if permitted."""
    real.fresh()
    goal = desired(CARRIERS, FULL)
    bgpd = real.adapter()
    await bgpd.apply(plan(goal, (await bgpd.observe()).config).changes)
    model = BgpdModel(ANNOUNCED)
    model.run(render(plan(goal, Observed()).changes, Instance(65000)))
    for peer in CARRIERS:
        permitted = {
            route for route in ANNOUNCED if _permits(real, list_name(peer.protocol_address, route.version), route)
        }
        assert permitted == model.permitted(str(peer.protocol_address))
        withheld = {route for route in ANNOUNCED if any(one.overlaps(route) for one in WITHHELD)}
        assert {route for route in permitted & withheld if route.prefixlen} == set()
        assert any(route.prefixlen == 0 for route in permitted) is peer.default_route


def _permits(real: RealBgpd, prefix_list: str, route: Network) -> bool:
    return "yields PERMIT" in real.type(f"debug prefix-list {prefix_list} match {route}")


async def test_a_list_of_an_earlier_version_is_in_sync_after_one_pass(subject: Subject) -> None:
    """It has no denials, and permissions at the sequence numbers of denials."""
    lines = ("permit any", "permit 10.255.0.0/24 le 32")
    subject.type("configure terminal", *(
        f"ip prefix-list dmvpn-agent-10.255.0.2-in seq {seq} {line}"
        for seq, line in ((4294967295, "deny any"), (5, lines[0]), (10, lines[1]))
    ), "end")  # fmt: skip
    goal = desired(CARRIERS[:1], SETTINGS)
    await _apply(subject, goal)
    observed = (await subject.bgpd.observe()).config
    assert plan(goal, observed).changes == ()
    *_, permit, last = (entry for _, entry in sorted(observed.prefix_lists["dmvpn-agent-10.255.0.2-in"].items()))
    assert (str(permit), last) == ("permit 0.0.0.0/0 ge 1 le 32", DENY_ANY)


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


async def test_a_transaction_gives_the_same_lists_as_single_lines(subject: Subject) -> None:
    """New, edited and removed lists in one transaction."""
    many = [spoke(number, f"192.168.{number}.0/24", f"172.16.{number}.0/24") for number in range(2, 60)]
    fewer = [spoke(number, f"192.168.{number}.0/24", f"10.0.{number}.0/24") for number in range(2, 40)]
    for goal in (wanted(many), wanted(fewer), wanted([])):
        await _apply(subject, goal)
        await _assert_is(subject, goal)


async def test_a_neighbor_in_another_group_is_recreated(subject: Subject) -> None:
    """bgpd refuses to change the peer-group in place."""
    await _apply(subject, wanted([spoke(2)]))
    subject.type("configure terminal", "router bgp 65000", "no neighbor 10.255.0.2",
                 "neighbor 10.255.0.2 remote-as 64514", "neighbor 10.255.0.2 description dmvpn-agent x",
                 "neighbor 10.255.0.2 peer-group others", "end")  # fmt: skip
    await _apply(subject, wanted([spoke(2)]))
    await _assert_is(subject, wanted([spoke(2)]))


async def test_a_misplaced_deny_any_is_corrected_in_one_pass(subject: Subject) -> None:
    """FRR ignores an entry that the list has at another seq."""
    await _apply(subject, wanted([spoke(2)]))
    name = "ip prefix-list dmvpn-agent-10.255.0.2-in"
    subject.type("configure terminal", f"no {name} seq 4294967295 deny any", f"{name} seq 3 deny any", "end")
    await _apply(subject, wanted([spoke(2)]))
    await _assert_is(subject, wanted([spoke(2)]))


async def test_the_operators_configuration_stays(subject: Subject) -> None:
    """Neighbors, lists and groups that are not the agent's do not change."""
    subject.type("configure terminal", "ip prefix-list operators seq 5 permit 10.0.0.0/8 le 24", "router bgp 65000",
                 "neighbor 10.255.0.77 remote-as 64999", "neighbor 10.255.0.77 description mine", "end")  # fmt: skip
    before = (await subject.bgpd.observe()).config
    await _apply(subject, wanted([spoke(2)]))
    await _apply(subject, wanted([]))
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
    await _apply(subject, wanted([spoke(2)]))
    await _assert_is(subject, wanted([spoke(2)]))


STATES = st.tuples(populations, st.lists(edits, max_size=5))


@pytest.mark.contract
@needs_bgpd
@settings(
    max_examples=25,
    phases=[Phase.generate],
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(STATES, populations, choices, st.integers(0, 40))
def test_random_plans_cut_off_anywhere_do_on_bgpd_what_they_do_on_the_model(
    real: RealBgpd, state: tuple[list[Peer], list[Edit]], population: list[Peer], by: BgpSettings, cut: int
) -> None:
    """The model behaves as bgpd does, at the cut and after the next plan, which leaves nothing to do.

    What is before the cut is written by vtysh, the rest by the socket.
    """
    before, hand_made = state
    model, goal = BgpdModel(), wanted(population, by)
    beginning = [*lines_for(before), *(line for edit in hand_made for line in edit.typed())]
    model.run(beginning)
    lines = render(plan(goal, parse_running_config(model.running_config())).changes, Instance(65000), grouped=True)[
        :cut
    ]
    model.run(lines)
    printed = real.fresh(*beginning, *lines, "end", "show running-config")
    observed = parse_running_config(printed)
    assert observed == parse_running_config(model.running_config())

    rest = plan(goal, observed).changes
    model.run(render(rest, Instance(65000), grouped=True))
    observed = asyncio.run(_written(real.adapter("vty", "vty"), rest))
    assert observed == parse_running_config(model.running_config())
    assert plan(goal, observed).changes == ()


async def _written(bgpd: Bgpd, changes: Sequence[Change]) -> Observed:
    await bgpd.apply(changes)
    return (await bgpd.observe()).config


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


@pytest.mark.contract
@needs_bgpd
async def test_a_filter_applies_to_an_established_session() -> None:
    """Only permitted networks pass; after an edit only the new ones, in the same session; after removal none."""
    hub = RealBgpd()
    hub.start()
    speaker = RealBgpd(SPEAKER, namespace=hub.pid, address="10.255.0.2")
    speaker.start()
    try:
        bgpd = hub.adapter()

        async def apply(*peers: Peer) -> None:
            await bgpd.apply(plan(wanted(list(peers)), (await bgpd.observe()).config).changes)

        def received() -> int:
            sessions = parse_bgp_summary(hub.type("show bgp ipv4 unicast summary json"))
            session = sessions.get(ip_address("10.255.0.2"))
            return session.prefixes if session and session.state == "Established" else 0

        await apply(spoke(2, "192.168.2.0/24"))
        until_now(lambda: received() == 2)
        established = _established(hub)
        await apply(spoke(2, "192.168.3.0/24"))
        until_now(lambda: received() == 1)
        assert "192.168.3.0" in hub.type("show bgp ipv4 unicast neighbors 10.255.0.2 routes")
        await apply(spoke(2, "192.168.2.0/24", "192.168.3.0/24"))
        until_now(lambda: received() == 3)
        assert _established(hub) == established
        await apply()
        until_now(lambda: "192.168" not in hub.type("show bgp ipv4 unicast"))
    finally:
        speaker.stop()
        hub.stop()


def _established(hub: RealBgpd) -> str:
    text = hub.type("show bgp ipv4 unicast summary json")
    return next(line for line in text.splitlines() if "connectionsEstablished" in line)


def _script(path: Path, text: str) -> FrrBgpd:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    vtysh = Vtysh(str(path), timeout=0.2)
    return FrrBgpd(vtysh, vtysh, Instance(65000))


async def test_a_missing_vtysh_is_unavailable() -> None:
    """The message names the program."""
    vtysh = Vtysh("/no/vtysh")
    bgpd = FrrBgpd(vtysh, vtysh, Instance(65000))
    with pytest.raises(FrrUnavailable, match=r"/no/vtysh cannot be started"):
        await bgpd.observe()


async def test_a_hanging_vtysh_is_unavailable(tmp_path: Path) -> None:
    """It is killed at the timeout."""
    with pytest.raises(FrrUnavailable, match=r"vtysh did not end within 0\.2 s"):
        await _script(tmp_path / "vtysh", "sleep 1000").observe()


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "echo oops",
        "echo Current configuration; exit 1",
        'echo "Current configuration:"; echo "ip prefix-list x seq y permit any"',
    ],
)
async def test_unexpected_output_is_unavailable(tmp_path: Path, text: str) -> None:
    """It is not an empty configuration: the agent would write everything again."""
    with pytest.raises(FrrUnavailable):
        await _script(tmp_path / "vtysh", text).observe()


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
