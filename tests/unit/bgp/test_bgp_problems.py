"""What the agent reads of the operator's BGP configuration, and the problems that it finds there."""

from collections.abc import Collection
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.operator_bgp import IPV4, IPV6, ListenRange
from dmvpn_agent.bgp.operator_bgp_reader import read_operator_bgp
from dmvpn_agent.bgp.plan import RemoveNeighbor, SetNeighbor, plan
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.problems import bgp_problems, without_blocked
from dmvpn_agent.bgp.running_config import parse_running_config
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.policy.peer import Peer
from factories import SETTINGS, spoke

DATA = Path(__file__).parents[2] / "data"
SPOKE = replace(SETTINGS, peer_group="hubs", only_hubs=True)
SHIPPED = Path(__file__).parents[3] / "frr"


def hub(*lines: str, group: Collection[str] = ("disable-connected-check",), active: str = "neighbor spokes activate",
        defaults: str = "traditional") -> str:  # fmt: skip
    return "\n".join([
        "frr version 10.3", f"frr defaults {defaults}", "router bgp 65000", " no bgp default ipv4-unicast",
        " neighbor spokes peer-group", *(f" neighbor spokes {line}" for line in group),
        *(f" {line}" for line in lines),
        " address-family ipv4 unicast", f"  {active}", " exit-address-family", "exit", "",
    ])  # fmt: skip


def found(
    text: str, *peers: Peer, by: BgpSettings = SETTINGS, up: Collection[Address] = (), tunnels: str = ""
) -> tuple[BgpProblem, ...]:
    networks = [ip_network(tunnels)] if tunnels else []
    observed = parse_running_config(text)
    return bgp_problems(observed, by, desired(peers, by), established=up, tunnels=networks)


def kinds(text: str, *peers: Peer, by: BgpSettings = SETTINGS, up: Collection[Address] = ()) -> set[Kind]:
    return {problem.kind for problem in found(text, *peers, by=by, up=up)}


@pytest.mark.parametrize("name", ["hub", "spoke", "hub-ibgp", "spoke-ibgp"])
def test_the_shipped_configurations_have_no_problems(name: str) -> None:
    """Not even with spokes that share an AS number."""
    text = (SHIPPED / f"{name}.conf").read_text().replace("@AS_NUMBER@", "65000")
    text = text.replace("@LAN_NETWORK@", "192.168.0.0/24")
    text = "\n".join(line for line in text.splitlines() if "@" not in line)
    by = SPOKE if name.startswith("spoke") else replace(SETTINGS, hub_peer_group="hubs")
    if name.endswith("-ibgp"):
        by = replace(by, ibgp_peer_group=f"{by.peer_group}-ibgp")
    peers = [] if name.startswith("spoke") else [spoke(2, as_number=64512), spoke(3, as_number=64512)]
    assert found(text, *peers, by=by) == ()


@pytest.mark.parametrize("version", ["8.4.4", "10.2.6", "10.6.1"])
def test_every_version_is_read(version: str) -> None:
    """The recorded configurations have the groups of the contract tests, active in IPv4."""
    texts = [path.read_text() for path in sorted((DATA / f"frr-{version}").glob("*")) if path.is_file()]
    read = [read_operator_bgp(text) for text in texts if "router bgp" in text]
    assert read
    assert all("spokes" in one.groups and one.is_active("spokes", IPV4) for one in read)


def test_the_operators_lines_are_read() -> None:
    """Those of the default instance; a VRF is ignored."""
    bgp = read_operator_bgp(
        hub(
            "bgp listen range 10.255.0.0/24 peer-group spokes",
            "neighbor gre1 interface peer-group spokes",
            "neighbor 10.255.0.2 shutdown message later",
            "bgp default ipv6-unicast",
            group=["passive", "local-as 64900 no-prepend", "ttl-security hops 2", "remote-as 1.10"],
        )
        + "router bgp 64999 vrf red\n neighbor spokes shutdown\n bgp shutdown\nexit\n"
    )
    group = bgp.groups["spokes"]
    assert bgp.listen_ranges == (ListenRange(ip_network("10.255.0.0/24"), "spokes"),)
    assert bgp.interfaces == {"gre1": "spokes"}
    assert bgp.shut_down == {ip_address("10.255.0.2")}
    assert not bgp.shutdown
    assert bgp.default_families == {IPV6}
    assert bgp.other_instances == ("router bgp 64999 vrf red",)
    assert (group.passive, group.local_as, group.skips_connected_check, group.shutdown) == (
        True,
        "64900",
        True,
        False,
    )
    assert group.remote_as == "1.10"


@pytest.mark.parametrize(
    "line",
    ["bgp listen range 10.255.0.0/33 peer-group spokes", "neighbor x shutdown", "bgp default", "neighbor", "no bgp",
     "neighbor spokes", "no neighbor gre1 activate", "neighbor spokes prefix-list", "bgp listen"],
)  # fmt: skip
def test_an_unknown_line_is_ignored(line: str) -> None:
    """The agent reads the rest as if it were not there."""
    assert read_operator_bgp(hub(line)) == read_operator_bgp(hub())
    assert parse_running_config(hub(line)).peer_groups == {"spokes"}


@pytest.mark.parametrize(
    ("number", "as_number", "fits"),
    [("external", 64514, False), ("auto", 64514, False), ("internal", 65000, True), ("internal", 64514, False),
     ("64514", 64514, True), ("64999", 64514, False), ("1.10", 65546, True), ("0.64514", 64514, True)],
)  # fmt: skip
def test_a_groups_as_number_must_match_the_certificate(number: str, as_number: int, fits: bool) -> None:
    """Otherwise bgpd would accept a session with another AS number than the certificate has."""
    problems = found(hub(group=["disable-connected-check", f"remote-as {number}"]), spoke(2, as_number=as_number))
    assert [problem.blocks for problem in problems] == ([] if fits else [{spoke(2).protocol_address}])
    assert all(problem.kind is Kind.GROUP_AS_NUMBER and problem.serious for problem in problems)


def test_a_bad_group_blocks_only_its_own_neighbors() -> None:
    """The agent writes the neighbors of other groups."""
    by = replace(SETTINGS, ibgp_peer_group="internal")
    text = hub("neighbor internal peer-group", group=["disable-connected-check", "remote-as external"])
    observed = parse_running_config(text)
    wanted = desired([spoke(2), spoke(3, as_number=65000)], by)
    todo = plan(without_blocked(wanted, observed, bgp_problems(observed, by, wanted)), observed)
    assert [change.neighbor.address for change in todo.changes if isinstance(change, SetNeighbor)] == [
        spoke(3).protocol_address
    ]


def test_an_existing_neighbor_stays_while_its_new_group_is_missing() -> None:
    """``bgp.peer_group`` was renamed, the group in FRR was not: sessions stay, filters are kept up to date."""
    wanted = desired([spoke(2)], SETTINGS)
    text = hub(
        "neighbor 10.255.0.2 remote-as 64514",
        "neighbor 10.255.0.2 peer-group spokes",
        "neighbor 10.255.0.2 description dmvpn-agent certificate 0000000000000000",
        active="neighbor 10.255.0.2 prefix-list dmvpn-agent-10.255.0.2-in in",
    )
    observed = parse_running_config(text)
    elsewhere = replace(SETTINGS, peer_group="branches")
    moved = desired([spoke(2)], elsewhere)
    kept = plan(without_blocked(moved, observed, bgp_problems(observed, elsewhere, moved)), observed)
    assert not any(isinstance(change, SetNeighbor | RemoveNeighbor) for change in kept.changes)
    assert [name for change in kept.changes if (name := getattr(change, "prefix_list", None))]
    assert wanted.prefix_lists == moved.prefix_lists


def test_an_inactive_group_is_reported_with_the_missing_lines() -> None:
    """Its sessions would come up and exchange nothing."""
    (problem,) = found(hub(active="neighbor other activate"))
    assert problem.kind is Kind.NOT_ACTIVATED
    assert "`address-family ipv4 unicast`, `neighbor spokes activate`" in problem.do


def test_a_listen_range_over_the_tunnel_is_serious() -> None:
    """So is one with the agent's group, or over a peer's address; any other range is ignored."""
    own = "bgp listen range 192.168.0.0/16 peer-group spokes"
    tunnel = "bgp listen range 10.0.0.0/8 peer-group lan"
    (problem,) = found(hub(own))
    assert (problem.kind, problem.serious, problem.do.startswith(f"remove it: `no {own}`")) == (
        Kind.LISTEN_RANGE, True, True,
    )  # fmt: skip
    assert kinds(hub(tunnel), spoke(2)) == {Kind.LISTEN_RANGE}
    assert [one.kind for one in found(hub(tunnel), tunnels="10.255.0.0/24")] == [Kind.LISTEN_RANGE]
    assert kinds(hub("bgp listen range 192.168.0.0/24 peer-group lan"), spoke(2)) == set()


def test_the_datacenter_profile_requires_no_policy_unless_a_line_says_so() -> None:
    """The running configuration does not show a profile's defaults."""
    assert kinds(hub(defaults="datacenter")) == {Kind.NO_POLICY_REQUIRED}
    assert kinds(hub("bgp ebgp-requires-policy", defaults="datacenter")) == set()
    (problem,) = found(hub("no bgp ebgp-requires-policy"))
    assert problem.kind is Kind.NO_POLICY_REQUIRED
    assert "for an instant" not in problem.found
    (problem,) = found(hub("no bgp ebgp-requires-policy").replace(" no bgp default ipv4-unicast\n", ""))
    assert "a new one is unfiltered for an instant" in problem.found


def test_a_vrf_instance_is_not_the_default_instance() -> None:
    """The message names it."""
    (problem,) = found("frr version 10.3\nrouter bgp 65000 vrf red\n neighbor spokes peer-group\nexit\n")
    assert problem.kind is Kind.NO_INSTANCE
    assert "`router bgp 65000 vrf red` is not the default instance" in problem.found


def test_a_passive_group_is_reported_on_a_spoke_only() -> None:
    """The hubs' groups are passive too."""
    text = hub().replace("spokes", "hubs").replace("disable-connected-check", "passive")
    assert Kind.ALL_PASSIVE in kinds(text, by=SPOKE)
    assert Kind.ALL_PASSIVE not in kinds(hub(group=["passive"]))


def test_an_established_session_shows_that_the_connected_check_passes() -> None:
    """The peers are in the tunnel interface's own network."""
    text = hub("neighbor 10.255.0.2 remote-as 64514", "neighbor 10.255.0.2 peer-group spokes", group=["timers 5 15"])
    assert kinds(text, spoke(2)) == {Kind.CONNECTED_CHECK}
    assert kinds(text, spoke(2), up=[spoke(2).protocol_address]) == set()
    assert kinds(text, spoke(2, as_number=65000)) == set()


@pytest.mark.parametrize(
    ("family", "reported"),
    [("ipv4 multicast", True), ("ipv4 labeled-unicast", True), ("l2vpn evpn", True), ("ipv6 unicast", False)],
)
def test_address_families_without_the_agents_filter_are_reported(family: str, reported: bool) -> None:
    """If no policy is required there. IPv6 unicast is not reported: the agent deactivates it itself."""
    lines = [f"address-family {family}", " neighbor spokes activate", "exit-address-family"]
    assert (Kind.OTHER_FAMILY in kinds(hub("no bgp ebgp-requires-policy", *lines))) is reported
    assert (Kind.OTHER_FAMILY in kinds(hub(*lines), spoke(2, as_number=65000))) is reported
    assert kinds(hub(*lines), spoke(2)) == set()


class TestSharedAsNumbers:
    PEERS = (spoke(2, as_number=64512), spoke(3, as_number=64512), spoke(4, as_number=64513))

    def test_peers_that_share_an_as_number_are_reported(self) -> None:
        """By address, with the missing line; the problem is not serious."""
        (problem,) = found(hub(), *self.PEERS)
        assert problem.kind is Kind.SHARED_AS_NUMBER
        assert problem.sharing_as == {spoke(2).protocol_address, spoke(3).protocol_address}
        assert not problem.serious
        assert "neighbor spokes as-override" in problem.do

    def test_as_override_solves_it(self) -> None:
        """If all exchanged address families have it, and the group has no sender-side loop detection."""
        overriding = hub(active="neighbor spokes as-override\n  neighbor spokes activate")
        assert found(overriding, *self.PEERS) == ()
        assert kinds(overriding, *self.PEERS, by=replace(SETTINGS, ipv6=True)) == {Kind.SHARED_AS_NUMBER}
        looping = overriding.replace(
            "disable-connected", "sender-as-path-loop-detection\n neighbor spokes disable-connected"
        )
        assert kinds(looping, *self.PEERS) == {Kind.SHARED_AS_NUMBER}

    def test_ibgp_peers_and_spokes_are_not_affected(self) -> None:
        """iBGP has no such check, and a spoke passes no routes from one hub to another."""
        internal = [spoke(number, as_number=65000) for number in (2, 3)]
        assert kinds(hub(), *internal) == set()
        assert Kind.SHARED_AS_NUMBER not in kinds(hub(), *self.PEERS, by=replace(SETTINGS, only_hubs=True))
