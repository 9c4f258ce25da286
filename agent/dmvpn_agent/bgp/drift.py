"""Telling apart why FRR differs from what it was: somebody edited what the agent owns, or FRR was restarted."""

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import Desired, Observed, owns_list, owns_neighbor
from dmvpn_agent.bgp.plan import AddEntry, Plan, RemoveEntry, RemoveList, RemoveNeighbor, SetNeighbor, plan, subject


class Drift(StrEnum):
    """What somebody did to a neighbor or prefix-list of ours. ``ADDED``: one that bears our mark and is not ours."""

    NEIGHBOR_REMOVED = "neighbor_removed"
    NEIGHBOR_CHANGED = "neighbor_changed"
    NEIGHBOR_ADDED = "neighbor_added"
    LIST_REMOVED = "prefix_list_removed"
    LIST_CHANGED = "prefix_list_changed"
    LIST_ADDED = "prefix_list_added"


def expected_state(wanted: Desired, foreign: Collection[Address]) -> Desired:
    """Return what of the desired state stands in FRR when it is in step: all but operators' own neighbors."""
    theirs = {name for address in foreign for name in wanted.neighbors[address].prefix_lists}
    return replace(
        wanted,
        neighbors={address: item for address, item in wanted.neighbors.items() if address not in foreign},
        prefix_lists={name: item for name, item in wanted.prefix_lists.items() if name not in theirs},
    )


def find_drift(stood: Desired, observed: Observed, todo: Plan) -> dict[str, Drift]:
    """Return what was done to what stood in FRR, as far as the plan undoes it, by neighbor and prefix-list."""
    undone = {subject(change) for change in todo.changes}
    kinds: dict[str, Drift] = {}
    for change in plan(stood, observed).changes:
        name = subject(change)
        if name not in undone:
            continue
        match change:
            case SetNeighbor(neighbor):
                there = neighbor.address in observed.neighbors
                kinds[name] = Drift.NEIGHBOR_CHANGED if there else Drift.NEIGHBOR_REMOVED
            case RemoveNeighbor():
                kinds[name] = Drift.NEIGHBOR_ADDED
            case AddEntry():
                kinds[name] = Drift.LIST_CHANGED if name in observed.prefix_lists else Drift.LIST_REMOVED
            case RemoveEntry():
                kinds[name] = Drift.LIST_CHANGED
            case RemoveList() if name not in stood.prefix_lists:
                kinds[name] = Drift.LIST_ADDED
            case _:
                pass  # what follows from another change, or from an operator who made a neighbor his own
    return kinds


def restarted(
    earlier: Observed, observed: Observed, sessions_earlier: Collection[Address], sessions: Collection[Address]
) -> bool:
    """Tell whether bgpd was started anew: all of ours is gone at once, or every session.

    A bgpd whose configuration was saved comes back with some of ours, of whatever age; then the established sessions
    of the neighbors that are as they were tell. FRR 8.4 does not say since when its bgpd runs.
    """
    if not _has_ours(earlier):
        return False
    witnesses = [
        address for address in sessions_earlier
        if address in earlier.neighbors and earlier.neighbors[address] == observed.neighbors.get(address)
    ]  # fmt: skip
    return not _has_ours(observed) or (bool(witnesses) and not sessions)


def _has_ours(observed: Observed) -> bool:
    return any(map(owns_neighbor, observed.neighbors.values())) or any(map(owns_list, observed.prefix_lists))
