"""The changes from observed to desired, and their order."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import DENY_ANY, DENY_ANY_SEQ, Desired, Neighbor, Observed, owns_list, owns_neighbor
from dmvpn_agent.bgp.plan import (
    AddEntry,
    Change,
    Plan,
    RefreshInbound,
    RemoveEntry,
    RemoveList,
    RemoveNeighbor,
    SetNeighbor,
    plan,
)
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.problem import BgpProblemKind as Kind
from dmvpn_agent.bgp.problems import bgp_problems
from dmvpn_agent.bgp.settings import MaximumPrefix
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.x509.certificate import Label
from factories import RULES, SETTINGS, spoke

A = ip_address("10.255.0.2")
LIST = "dmvpn-agent-10.255.0.2-in"
NET = Entry(permit=True, prefix=ip_network("192.168.2.0/24"), le=26)
OTHER = Entry(permit=True, prefix=ip_network("192.168.3.0/24"), le=26)
BASE = Observed(as_number=65000, peer_groups=frozenset({"spokes"}))
OWN = desired([spoke(2)], SETTINGS).neighbors[A]


def _there(neighbor: Neighbor = OWN, **lists: dict[int, Entry]) -> Observed:
    entries = lists.get("entries", {5: NET, DENY_ANY_SEQ: DENY_ANY})
    return replace(BASE, neighbors={A: neighbor}, prefix_lists={LIST: entries})


def _plan(*peers: Peer, observed: Observed = BASE) -> Plan:
    return plan(desired(peers, SETTINGS), observed)


def _changes(*peers: Peer, observed: Observed = BASE) -> list[Change]:
    return list(_plan(*peers, observed=observed).changes)


def test_a_new_peer_gets_its_filter_before_its_neighbor() -> None:
    """A neighbor never exists without its list; the first entry of a list is its ``deny any``."""
    assert _changes(spoke(2)) == [
        AddEntry(LIST, DENY_ANY_SEQ, DENY_ANY),
        AddEntry(LIST, 5, NET),
        SetNeighbor(OWN, Neighbor(A)),
    ]


def test_the_plan_is_empty_if_frr_is_in_sync() -> None:
    """Nothing is written."""
    assert _changes(spoke(2), observed=_there()) == []


def test_a_peer_that_left_loses_its_neighbor_before_its_filter() -> None:
    """No neighbor ever lacks its list."""
    assert _changes(observed=_there()) == [RemoveNeighbor(A), RemoveList(LIST)]


def test_a_changed_network_is_removed_before_the_new_one_is_added() -> None:
    """At no moment may both be announced. A refresh follows."""
    assert _changes(spoke(2, "192.168.3.0/24"), observed=_there()) == [
        RemoveEntry(LIST, 5, NET),
        AddEntry(LIST, 10, OTHER),
        RefreshInbound(A),
    ]


def test_a_renewed_certificate_changes_the_description_only() -> None:
    """The session stays."""
    renewed = spoke(2, fingerprint="ab" * 32)
    (change,) = _changes(renewed, observed=_there())
    assert isinstance(change, SetNeighbor)
    assert change.before == OWN
    assert replace(change.neighbor, description=OWN.description) == OWN


def test_a_neighbor_with_an_older_description_is_updated_in_place() -> None:
    """Its first word makes it the agent's; only the description is written."""
    named = replace(spoke(2), label=Label("spoke2"))
    (change,) = _changes(named, observed=_there())
    assert isinstance(change, SetNeighbor)
    assert change.before == OWN
    assert change.neighbor == replace(OWN, description="dmvpn-agent spoke2 certificate 0000000000000000")


def test_hubs_and_spokes_have_different_limits() -> None:
    """A hub announces for all its spokes, so it has another limit, or none."""
    own, carrier = spoke(2), replace(spoke(3), kind=PeerKind.HUB, transit=())
    few, many = MaximumPrefix(10, 15), MaximumPrefix(5000)
    found = desired([own, carrier], replace(SETTINGS, maximum_prefix=few, ipv6=True)).neighbors
    assert [(one.maximum_prefix, one.maximum_prefix_ipv6) for one in found.values()] == [(few, few), (None, None)]
    found = desired([own, carrier], replace(SETTINGS, transit_maximum_prefix=many)).neighbors
    assert [(one.maximum_prefix, one.maximum_prefix_ipv6) for one in found.values()] == [(None, None), (many, None)]


def test_only_hubs_have_a_weight() -> None:
    """In both address families. A spoke at such an address has none."""
    by = replace(SETTINGS, hub_weights={A: 200}, ipv6=True)
    found = desired([replace(spoke(2), kind=PeerKind.HUB)], by).neighbors[A]
    assert (found.weight, found.weight_ipv6) == (200, 200)
    assert desired([spoke(2)], by).neighbors[A].weight is None


def test_a_changed_limit_or_weight_changes_the_neighbor_in_place() -> None:
    """bgpd needs no new neighbor for it."""
    changed = replace(SETTINGS, maximum_prefix=MaximumPrefix(10))
    (change,) = plan(desired([spoke(2)], changed), _there()).changes
    assert change == SetNeighbor(replace(OWN, maximum_prefix=MaximumPrefix(10)), OWN)


def test_a_changed_as_number_changes_the_neighbor_in_place() -> None:
    """bgpd accepts a new remote-as for an existing neighbor."""
    (change,) = _changes(spoke(2, as_number=64999), observed=_there())
    assert isinstance(change, SetNeighbor)
    assert (change.before.as_number, change.neighbor.as_number) == (64514, 64999)


def test_a_changed_peer_group_needs_a_new_neighbor() -> None:
    """bgpd: "Cannot change the peer-group. Deconfigure first"."""
    found = replace(OWN, peer_group="others")
    assert _changes(spoke(2), observed=_there(found)) == [RemoveNeighbor(A), SetNeighbor(OWN, Neighbor(A))]


@pytest.mark.parametrize("description", [None, "the operator's", "dmvpn-agents of another kind"])
def test_an_operators_neighbor_is_reported_and_not_touched(description: str | None) -> None:
    """The agent writes neither neighbor nor list for a peer at its address."""
    found = Neighbor(A, 64514, "spokes", description, "operators")
    todo = _plan(spoke(2), observed=replace(BASE, neighbors={A: found}))
    assert todo == Plan((), (A,))


def test_a_neighbor_that_an_operator_took_over_keeps_its_filter() -> None:
    """Without it the neighbor could announce nothing, or everything."""
    found = replace(OWN, description="mine now")
    assert _plan(spoke(2), observed=_there(found)) == Plan((), (A,))
    assert _plan(observed=_there(found)) == Plan((), ())


def test_a_half_written_neighbor_is_completed() -> None:
    """A neighbor with the agent's list and nothing but remote-as was cut off before its description."""
    found = Neighbor(A, 64514)
    assert _changes(spoke(2), observed=_there(found)) == [SetNeighbor(OWN, found)]


def test_a_bare_neighbor_with_another_as_number_is_the_operators() -> None:
    """The agent would have written the AS number of the certificate."""
    assert _plan(spoke(2), observed=_there(Neighbor(A, 64000))).operator_neighbors == (A,)


def test_a_bare_neighbor_without_the_agents_list_is_the_operators() -> None:
    """The agent writes the list first."""
    observed = replace(BASE, neighbors={A: Neighbor(A, 64514)})
    assert _plan(spoke(2), observed=observed) == Plan((), (A,))


def test_foreign_and_duplicate_entries_are_removed_from_the_agents_list() -> None:
    """The list ends in ``deny any`` all the time."""
    entries = {5: OTHER, 7: NET, 9: NET, DENY_ANY_SEQ: DENY_ANY}
    assert _changes(spoke(2), observed=_there(entries=entries)) == [
        RemoveEntry(LIST, 5, OTHER),
        RemoveEntry(LIST, 9, NET),
        RefreshInbound(A),
    ]


def test_a_missing_deny_any_is_added_first() -> None:
    """Before any entry is removed: a list without entries would permit everything."""
    assert _changes(spoke(2), observed=_there(entries={5: OTHER}))[:2] == [
        AddEntry(LIST, DENY_ANY_SEQ, DENY_ANY),
        RemoveEntry(LIST, 5, OTHER),
    ]


def test_a_misplaced_deny_any_rebuilds_the_list() -> None:
    """FRR ignores a second ``deny any``. While the list is undefined it denies everything."""
    changes = _changes(spoke(2), observed=_there(entries={3: DENY_ANY, 5: NET}))
    assert changes == [
        RemoveList(LIST),
        AddEntry(LIST, DENY_ANY_SEQ, DENY_ANY),
        AddEntry(LIST, 5, NET),
        RefreshInbound(A),
    ]


def test_an_unused_list_of_the_agent_is_removed() -> None:
    """Operators' lists stay."""
    observed = replace(BASE, prefix_lists={LIST: {DENY_ANY_SEQ: DENY_ANY}, "operators": {5: NET}})
    assert _changes(observed=observed) == [RemoveList(LIST)]


def test_a_pending_refresh_is_made_up() -> None:
    """A list changed in an earlier pass that was cut off before the refresh."""
    todo = plan(desired([spoke(2)], SETTINGS), _there(), refresh_pending={A, ip_address("10.255.0.9")})
    assert todo.changes == (RefreshInbound(A),)


def test_a_peer_without_as_number_has_no_neighbor() -> None:
    """The node runs no BGP with it."""
    assert _changes(replace(spoke(2), as_number=None)) == []


def test_two_peers_with_one_as_number_have_separate_lists() -> None:
    """List names have the address, not the AS number."""
    wanted = desired([spoke(2, as_number=64512), spoke(3, as_number=64512)], SETTINGS)
    assert len(wanted.prefix_lists) == 2


def test_no_prefix_is_permitted_beyond_the_maximum_length() -> None:
    """FRR takes ``le`` only if it is longer than the prefix."""
    wanted = desired([spoke(2, "192.168.2.0/26", "192.168.3.0/28", "192.168.4.0/25")], SETTINGS)
    assert {(entry.prefix.prefixlen, entry.le) for entry in wanted.prefix_lists[LIST]} == {
        (26, None),
        (25, 26),
    }


def test_ipv6_prefixes_are_not_written_into_an_ipv4_list() -> None:
    """Each IP version has its own list."""
    wanted = desired([spoke(2, "2001:db8::/64")], SETTINGS)
    assert wanted.prefix_lists[LIST] == frozenset()


def test_ownership_is_by_whole_word() -> None:
    """A name that only starts like the agent's is not the agent's."""
    assert owns_list(LIST)
    assert not owns_list("dmvpn-agents")
    assert owns_neighbor(OWN)
    assert not owns_neighbor(Neighbor(A, description="dmvpn-agent2 certificate"))


@pytest.mark.parametrize(
    ("observed", "kinds"),
    [
        (Observed(), [Kind.NO_INSTANCE]),
        (replace(BASE, as_number=65001), [Kind.OTHER_AS_NUMBER]),
        (replace(BASE, peer_groups=frozenset()), [Kind.NO_PEER_GROUP]),
        (BASE, []),
    ],
)
def test_a_missing_instance_or_group_is_reported(observed: Observed, kinds: list[Kind]) -> None:
    """The operator configures the BGP instance and its peer-groups; the agent only writes neighbors."""
    assert [problem.kind for problem in bgp_problems(observed, SETTINGS, Desired())] == kinds


def test_ibgp_neighbors_need_no_bgp_default_ipv4_unicast() -> None:
    """iBGP requires no policy: the neighbor would be unfiltered until it has its prefix-list."""
    wanted = desired([spoke(2, as_number=65000)], SETTINGS)
    (problem,) = bgp_problems(BASE, SETTINGS, wanted)
    assert "no bgp default ipv4-unicast" in problem.do
    assert problem.blocks == {spoke(2).protocol_address}
    assert bgp_problems(replace(BASE, activates_ipv4=False), SETTINGS, wanted) == ()


class TestKinds:
    """Hubs, iBGP peers, both families, and a spoke's own neighbors."""

    FULL = replace(SETTINGS, hub_peer_group="hubs", ibgp_peer_group="internal", ipv6=True)

    def test_each_kind_has_its_peer_group(self) -> None:
        """A kind without a group of its own uses the spokes'."""
        peers = [spoke(2), replace(spoke(3), kind=PeerKind.HUB), spoke(4, as_number=65000)]
        groups = [neighbor.peer_group for neighbor in desired(peers, self.FULL).neighbors.values()]
        assert groups == ["spokes", "hubs", "internal"]
        assert {neighbor.peer_group for neighbor in desired(peers, SETTINGS).neighbors.values()} == {"spokes"}

    def test_both_families_have_separate_lists(self) -> None:
        """In one session. A peer without IPv6 prefixes can announce none."""
        wanted = desired([spoke(2, "192.168.2.0/24", "2001:db8:2::/48"), spoke(3)], self.FULL)
        assert wanted.neighbors[A].prefix_lists == (LIST, f"{LIST}6")
        assert [str(entry.prefix) for entry in wanted.prefix_lists[f"{LIST}6"]] == ["2001:db8:2::/48"]
        assert wanted.prefix_lists["dmvpn-agent-10.255.0.3-in6"] == frozenset()
        assert all(neighbor.activates_ipv6 for neighbor in wanted.neighbors.values())

    def test_without_bgp_ipv6_nothing_is_configured_for_ipv6(self) -> None:
        """The peer's IPv6 prefixes are ignored."""
        wanted = desired([spoke(2, "2001:db8:2::/48")], SETTINGS)
        assert wanted.prefix_lists == {LIST: frozenset()}
        assert not wanted.neighbors[A].activates_ipv6

    def test_a_hub_may_announce_transit_networks(self) -> None:
        """Its spokes' prefixes are not in its certificate."""
        hub = replace(spoke(2), kind=PeerKind.HUB, transit=RULES.transit_networks())
        entries = desired([hub], SETTINGS).prefix_lists[LIST]
        assert {(str(entry.prefix), entry.le) for entry in entries} == {("192.168.0.0/16", 26), ("10.255.0.0/24", 32)}

    def test_a_spoke_has_neighbors_for_hubs_only(self) -> None:
        """A shortcut forwards packets and has no BGP session."""
        peers = [replace(spoke(2), kind=PeerKind.SHORTCUT), replace(spoke(3), kind=PeerKind.HUB)]
        wanted = desired(peers, replace(SETTINGS, only_hubs=True))
        assert [str(address) for address in wanted.neighbors] == ["10.255.0.3"]
