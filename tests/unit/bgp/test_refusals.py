"""Changes that FRR did not take: which ones wait for a retry."""

from dataclasses import replace
from ipaddress import ip_network

from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.neighbors import Neighbor, Observed
from dmvpn_agent.bgp.plan import AddEntry, Change, RefreshInbound, RemoveEntry, RemoveNeighbor, SetNeighbor, plan
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.refusals import Refusals
from factories import SETTINGS, spoke

ADDRESS = spoke(2).protocol_address
(SET,) = [
    change
    for change in plan(desired([spoke(2)], SETTINGS), Observed(65000)).changes
    if isinstance(change, SetNeighbor)
]
OTHER = RemoveNeighbor(spoke(3).protocol_address)


def refused(change: Change, *, first: float = 3600) -> Refusals:
    refusals = Refusals(first, 3600)
    assert refusals.add(change, "% no")
    return refusals


def test_a_refused_change_waits_for_its_retry_and_others_do_not() -> None:
    """Also if the neighbor is half written in the meantime: the goal is the same."""
    partly = replace(SET, before=replace(Neighbor(ADDRESS), as_number=64514))
    assert refused(SET).due([OTHER, SET]) == (OTHER,)
    assert refused(SET).due([partly]) == ()


def test_a_refused_change_is_retried_when_it_is_due() -> None:
    """Alone, because it was refused before."""
    refusals = refused(SET, first=0)
    assert refusals.due([SET]) == (SET,)
    assert refusals.is_known(SET)
    assert not refusals.is_known(OTHER)


def test_the_removal_of_a_refused_neighbor_does_not_wait() -> None:
    """A revoked peer is removed at once."""
    gone = RemoveNeighbor(ADDRESS)
    assert refused(SET).due([gone]) == (gone,)


def test_a_narrowed_filter_applies_while_its_neighbor_waits() -> None:
    """The refresh does not wait either."""
    narrowed = RemoveEntry("dmvpn-agent-10.255.0.2-in", 5, Entry(permit=True, prefix=ip_network("192.168.2.0/24")))
    again = RefreshInbound(ADDRESS)
    assert refused(SET).due([narrowed, SET, again]) == (narrowed, again)
    assert refused(again).due([again]) == ()


def test_changes_to_the_same_list_wait_together() -> None:
    """No permission is added while a denial is missing."""
    denial = AddEntry("dmvpn-agent-10.255.0.2-in", 5, Entry(permit=False, prefix=ip_network("192.168.2.0/24")))
    permission = replace(denial, seq=10, entry=Entry(permit=True, prefix=ip_network("192.168.0.0/16")))
    assert refused(denial).due([denial, permission]) == ()


def test_a_refusal_is_new_once() -> None:
    """Another reason is new again, and so is the same one after it was solved."""
    refusals = refused(SET)
    assert not refusals.add(SET, "% no")
    assert refusals.add(SET, "% something else")
    refusals.retain([OTHER])
    assert refusals.due([SET]) == (SET,)
    assert refusals.add(SET, "% something else")
