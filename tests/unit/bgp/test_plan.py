"""From observed to desired: which changes, in which order."""

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
OURS = desired([spoke(2)], SETTINGS).neighbors[A]


def _there(neighbor: Neighbor = OURS, **lists: dict[int, Entry]) -> Observed:
    entries = lists.get("entries", {5: NET, DENY_ANY_SEQ: DENY_ANY})
    return replace(BASE, neighbors={A: neighbor}, prefix_lists={LIST: entries})


def _plan(*peers: Peer, observed: Observed = BASE) -> Plan:
    return plan(desired(peers, SETTINGS), observed)


def _changes(*peers: Peer, observed: Observed = BASE) -> list[Change]:
    return list(_plan(*peers, observed=observed).changes)


def test_a_new_peer_gets_its_filter_before_its_neighbor() -> None:
    """A neighbor never stands without its list; the list begins with its end."""
    assert _changes(spoke(2)) == [
        AddEntry(LIST, DENY_ANY_SEQ, DENY_ANY),
        AddEntry(LIST, 5, NET),
        SetNeighbor(OURS, Neighbor(A)),
    ]


def test_what_is_as_desired_is_left_alone() -> None:
    """Nothing to do is an empty plan."""
    assert _changes(spoke(2), observed=_there()) == []


def test_a_peer_that_left_loses_its_neighbor_before_its_filter() -> None:
    """A list is not taken from under a neighbor."""
    assert _changes(observed=_there()) == [RemoveNeighbor(A), RemoveList(LIST)]


def test_a_changed_network_is_removed_before_the_new_one_is_added() -> None:
    """At no moment may both be announced; what stands is judged again after."""
    assert _changes(spoke(2, "192.168.3.0/24"), observed=_there()) == [
        RemoveEntry(LIST, 5, NET),
        AddEntry(LIST, 10, OTHER),
        RefreshInbound(A),
    ]


def test_a_new_certificate_is_written_into_the_description() -> None:
    """The session stays: only the neighbor's description differs."""
    renewed = spoke(2, fingerprint="ab" * 32)
    (change,) = _changes(renewed, observed=_there())
    assert isinstance(change, SetNeighbor)
    assert change.before == OURS
    assert replace(change.neighbor, description=OURS.description) == OURS


def test_a_neighbor_described_as_before_names_is_taken_over_in_place() -> None:
    """It is ours by the first word; only the description is written."""
    named = replace(spoke(2), label=Label("spoke2"))
    (change,) = _changes(named, observed=_there())
    assert isinstance(change, SetNeighbor)
    assert change.before == OURS
    assert change.neighbor == replace(OURS, description="dmvpn-agent spoke2 certificate 0000000000000000")


def test_a_limit_is_the_peers_own_or_that_of_who_carries_others_prefixes() -> None:
    """A hub announces for all its spokes, and has another limit, or none."""
    own, carrier = spoke(2), replace(spoke(3), kind=PeerKind.HUB, transit=())
    few, many = MaximumPrefix(10, 15), MaximumPrefix(5000)
    found = desired([own, carrier], replace(SETTINGS, maximum_prefix=few, ipv6=True)).neighbors
    assert [(one.maximum_prefix, one.maximum_prefix_ipv6) for one in found.values()] == [(few, few), (None, None)]
    found = desired([own, carrier], replace(SETTINGS, transit_maximum_prefix=many)).neighbors
    assert [(one.maximum_prefix, one.maximum_prefix_ipv6) for one in found.values()] == [(None, None), (many, None)]


def test_a_weight_is_a_hubs_in_both_families() -> None:
    """A spoke at such an address is given none: what it announces is not to be preferred."""
    by = replace(SETTINGS, hub_weights={A: 200}, ipv6=True)
    found = desired([replace(spoke(2), kind=PeerKind.HUB)], by).neighbors[A]
    assert (found.weight, found.weight_ipv6) == (200, 200)
    assert desired([spoke(2)], by).neighbors[A].weight is None


def test_a_changed_limit_or_weight_changes_the_neighbor_in_place() -> None:
    """Nothing of it needs a new neighbor."""
    changed = replace(SETTINGS, maximum_prefix=MaximumPrefix(10))
    (change,) = plan(desired([spoke(2)], changed), _there()).changes
    assert change == SetNeighbor(replace(OURS, maximum_prefix=MaximumPrefix(10)), OURS)


def test_a_changed_as_keeps_the_neighbor() -> None:
    """bgpd takes a new remote-as for an existing neighbor."""
    (change,) = _changes(spoke(2, as_number=64999), observed=_there())
    assert isinstance(change, SetNeighbor)
    assert (change.before.as_number, change.neighbor.as_number) == (64514, 64999)


def test_a_changed_peer_group_needs_a_new_neighbor() -> None:
    """bgpd: "Cannot change the peer-group. Deconfigure first"."""
    found = replace(OURS, peer_group="others")
    assert _changes(spoke(2), observed=_there(found)) == [RemoveNeighbor(A), SetNeighbor(OURS, Neighbor(A))]


@pytest.mark.parametrize("description", [None, "the operator's", "dmvpn-agents of another kind"])
def test_an_operators_neighbor_is_told_and_not_touched(description: str | None) -> None:
    """Neither neighbor nor list is written for a peer whose address somebody else configured."""
    found = Neighbor(A, 64514, "spokes", description, "operators")
    todo = _plan(spoke(2), observed=replace(BASE, neighbors={A: found}))
    assert todo == Plan((), (A,))


def test_a_neighbor_that_was_ours_keeps_its_filter() -> None:
    """Whoever rewrote the description took the neighbor over, not the right to announce nothing or everything."""
    found = replace(OURS, description="mine now")
    assert _plan(spoke(2), observed=_there(found)) == Plan((), (A,))
    assert _plan(observed=_there(found)) == Plan((), ())


def test_a_half_made_neighbor_is_completed() -> None:
    """A neighbor with nothing but our remote-as is one whose description did not come through."""
    found = Neighbor(A, 64514)
    assert _changes(spoke(2), observed=_there(found)) == [SetNeighbor(OURS, found)]


def test_a_bare_neighbor_of_another_as_is_the_operators() -> None:
    """Only our own AS could be ours."""
    assert _plan(spoke(2), observed=_there(Neighbor(A, 64000))).operator_neighbors == (A,)


def test_a_bare_neighbor_without_our_filter_is_the_operators() -> None:
    """The agent writes the filter first: where there is none, somebody else wrote the neighbor."""
    observed = replace(BASE, neighbors={A: Neighbor(A, 64514)})
    assert _plan(spoke(2), observed=observed) == Plan((), (A,))


def test_what_stood_in_our_list_is_repaired() -> None:
    """Entries that are not ours to permit go, doubles too; the list ends in deny any throughout."""
    entries = {5: OTHER, 7: NET, 9: NET, DENY_ANY_SEQ: DENY_ANY}
    assert _changes(spoke(2), observed=_there(entries=entries)) == [
        RemoveEntry(LIST, 5, OTHER),
        RemoveEntry(LIST, 9, NET),
        RefreshInbound(A),
    ]


def test_a_missing_end_comes_first() -> None:
    """deny any is put back before anything is taken out: a list without entries would permit everything."""
    assert _changes(spoke(2), observed=_there(entries={5: OTHER}))[:2] == [
        AddEntry(LIST, DENY_ANY_SEQ, DENY_ANY),
        RemoveEntry(LIST, 5, OTHER),
    ]


def test_an_end_in_the_wrong_place_rebuilds_the_list() -> None:
    """FRR takes a second deny any for done without adding it; an undefined list denies meanwhile."""
    changes = _changes(spoke(2), observed=_there(entries={3: DENY_ANY, 5: NET}))
    assert changes == [
        RemoveList(LIST),
        AddEntry(LIST, DENY_ANY_SEQ, DENY_ANY),
        AddEntry(LIST, 5, NET),
        RefreshInbound(A),
    ]


def test_a_list_without_neighbor_is_removed() -> None:
    """Lists of ours that nobody uses do not pile up; others stay."""
    observed = replace(BASE, prefix_lists={LIST: {DENY_ANY_SEQ: DENY_ANY}, "operators": {5: NET}})
    assert _changes(observed=observed) == [RemoveList(LIST)]


def test_a_neighbor_in_wait_of_a_refresh_gets_it() -> None:
    """A change of a list that was written but not judged is made good."""
    todo = plan(desired([spoke(2)], SETTINGS), _there(), stale={A, ip_address("10.255.0.9")})
    assert todo.changes == (RefreshInbound(A),)


def test_a_peer_without_as_gets_nothing() -> None:
    """Where a node runs no BGP towards a peer there is nothing to write."""
    assert _changes(replace(spoke(2), as_number=None)) == []


def test_two_peers_with_one_as_have_lists_of_their_own() -> None:
    """Names are by peer: by AS they would collide."""
    wanted = desired([spoke(2, as_number=64512), spoke(3, as_number=64512)], SETTINGS)
    assert len(wanted.prefix_lists) == 2


def test_a_prefix_as_long_as_the_limit_is_taken_exactly_and_a_longer_one_not_at_all() -> None:
    """``le`` only where it is longer than the prefix."""
    wanted = desired([spoke(2, "192.168.2.0/26", "192.168.3.0/28", "192.168.4.0/25")], SETTINGS)
    assert {(entry.prefix.prefixlen, entry.le) for entry in wanted.prefix_lists[LIST]} == {
        (26, None),
        (25, 26),
    }


def test_ipv6_prefixes_are_not_written_into_an_ipv4_list() -> None:
    """The list is the IPv4 filter."""
    wanted = desired([spoke(2, "2001:db8::/64")], SETTINGS)
    assert wanted.prefix_lists[LIST] == frozenset()


def test_ownership_is_by_whole_word() -> None:
    """A name that only begins alike is not ours."""
    assert owns_list(LIST)
    assert not owns_list("dmvpn-agents")
    assert owns_neighbor(OURS)
    assert not owns_neighbor(Neighbor(A, description="dmvpn-agent2 certificate"))


@pytest.mark.parametrize(
    ("observed", "told"),
    [
        (Observed(), ("FRR has no BGP instance; add `router bgp 65000`",)),
        (
            replace(BASE, as_number=65001),
            ("FRR runs `router bgp 65001`, bgp.as_number is 65000; make them the same",),
        ),
        (
            replace(BASE, peer_groups=frozenset()),
            ("FRR has no peer-group spokes; add `neighbor spokes peer-group` or see to bgp.peer_group and the like",),
        ),
        (BASE, ()),
    ],
)  # fmt: skip
def test_what_the_operator_must_add_is_said(observed: Observed, told: tuple[str, ...]) -> None:
    """The agent writes neighbors, not the BGP instance."""
    assert tuple(map(str, bgp_problems(observed, SETTINGS, Desired()))) == told


def test_an_ibgp_neighbor_needs_a_bgp_that_activates_nobody_by_itself() -> None:
    """No policy is required of iBGP: it would be unfiltered until it has its prefix-list."""
    wanted = desired([spoke(2, as_number=65000)], SETTINGS)
    (told,) = bgp_problems(BASE, SETTINGS, wanted)
    assert "no bgp default ipv4-unicast" in told.do
    assert told.blocks == {spoke(2).protocol_address}
    assert bgp_problems(replace(BASE, activates_ipv4=False), SETTINGS, wanted) == ()


class TestKinds:
    """Hubs, iBGP peers, both families, and a spoke's own neighbors."""

    FULL = replace(SETTINGS, hub_peer_group="hubs", ibgp_peer_group="internal", ipv6=True)

    def test_each_kind_has_its_peer_group(self) -> None:
        """And those that have none of their own share the spokes'."""
        peers = [spoke(2), replace(spoke(3), kind=PeerKind.HUB), spoke(4, as_number=65000)]
        groups = [neighbor.peer_group for neighbor in desired(peers, self.FULL).neighbors.values()]
        assert groups == ["spokes", "hubs", "internal"]
        assert {neighbor.peer_group for neighbor in desired(peers, SETTINGS).neighbors.values()} == {"spokes"}

    def test_both_families_have_a_list_of_their_own(self) -> None:
        """Over one session; a peer without IPv6 prefixes can announce none."""
        wanted = desired([spoke(2, "192.168.2.0/24", "2001:db8:2::/48"), spoke(3)], self.FULL)
        assert wanted.neighbors[A].prefix_lists == (LIST, f"{LIST}6")
        assert [str(entry.prefix) for entry in wanted.prefix_lists[f"{LIST}6"]] == ["2001:db8:2::/48"]
        assert wanted.prefix_lists["dmvpn-agent-10.255.0.3-in6"] == frozenset()
        assert all(neighbor.activates_ipv6 for neighbor in wanted.neighbors.values())

    def test_without_ipv6_none_is_configured(self) -> None:
        """A peer's IPv6 prefixes are then nothing to BGP."""
        wanted = desired([spoke(2, "2001:db8:2::/48")], SETTINGS)
        assert wanted.prefix_lists == {LIST: frozenset()}
        assert not wanted.neighbors[A].activates_ipv6

    def test_a_hub_may_announce_what_it_carries(self) -> None:
        """Its spokes' prefixes are not in its certificate."""
        hub = replace(spoke(2), kind=PeerKind.HUB, transit=RULES.transit_networks())
        entries = desired([hub], SETTINGS).prefix_lists[LIST]
        assert {(str(entry.prefix), entry.le) for entry in entries} == {("192.168.0.0/16", 26), ("10.255.0.0/24", 32)}

    def test_a_spoke_has_neighbors_at_its_hubs_only(self) -> None:
        """A shortcut carries packets, not routes."""
        peers = [replace(spoke(2), kind=PeerKind.SHORTCUT), replace(spoke(3), kind=PeerKind.HUB)]
        wanted = desired(peers, replace(SETTINGS, only_hubs=True))
        assert [str(address) for address in wanted.neighbors] == ["10.255.0.3"]
