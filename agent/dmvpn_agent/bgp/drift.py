"""Why FRR differs from its last known state: an operator edited the agent's configuration, or FRR restarted."""

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import Desired, Observed, owns_list, owns_neighbor
from dmvpn_agent.bgp.plan import AddEntry, Plan, RemoveEntry, RemoveList, RemoveNeighbor, SetNeighbor, plan, subject


class Drift(StrEnum):
    """An edit of the agent's configuration. ``ADDED``: it has the agent's mark, but the agent did not write it."""

    NEIGHBOR_REMOVED = "neighbor_removed"
    NEIGHBOR_CHANGED = "neighbor_changed"
    NEIGHBOR_ADDED = "neighbor_added"
    LIST_REMOVED = "prefix_list_removed"
    LIST_CHANGED = "prefix_list_changed"
    LIST_ADDED = "prefix_list_added"


def expected_state(wanted: Desired, operator_neighbors: Collection[Address]) -> Desired:
    """Return what FRR has of the desired state when it is in sync: all of it except at operators' neighbors."""
    theirs = {name for address in operator_neighbors for name in wanted.neighbors[address].prefix_lists}
    return replace(
        wanted,
        neighbors={address: item for address, item in wanted.neighbors.items() if address not in operator_neighbors},
        prefix_lists={name: item for name, item in wanted.prefix_lists.items() if name not in theirs},
    )


def find_drift(expected: Desired, observed: Observed, todo: Plan) -> dict[str, Drift]:
    """Return the edits of the expected state that the plan reverts, by neighbor address or prefix-list name."""
    reverted = {subject(change) for change in todo.changes}
    edits: dict[str, Drift] = {}
    for change in plan(expected, observed).changes:
        name = subject(change)
        if name not in reverted:
            continue
        match change:
            case SetNeighbor(neighbor):
                exists = neighbor.address in observed.neighbors
                edits[name] = Drift.NEIGHBOR_CHANGED if exists else Drift.NEIGHBOR_REMOVED
            case RemoveNeighbor():
                edits[name] = Drift.NEIGHBOR_ADDED
            case AddEntry():
                edits[name] = Drift.LIST_CHANGED if name in observed.prefix_lists else Drift.LIST_REMOVED
            case RemoveEntry():
                edits[name] = Drift.LIST_CHANGED
            case RemoveList() if name not in expected.prefix_lists:
                edits[name] = Drift.LIST_ADDED
            case _:
                pass  # a consequence of another change, or of an operator who took over a neighbor
    return edits


def bgpd_restarted(
    earlier: Observed, observed: Observed, established_earlier: Collection[Address], established: Collection[Address]
) -> bool:
    """Tell whether bgpd restarted: everything of the agent's is gone at once, or every session.

    If its configuration was saved, a restarted bgpd has some of the agent's neighbors, in an older state. Then the
    sessions decide, of those neighbors that did not change. FRR 8.4 does not show bgpd's start time.
    """
    if not _has_own(earlier):
        return False
    unchanged = [
        address for address in established_earlier
        if address in earlier.neighbors and earlier.neighbors[address] == observed.neighbors.get(address)
    ]  # fmt: skip
    return not _has_own(observed) or (bool(unchanged) and not established)


def _has_own(observed: Observed) -> bool:
    return any(map(owns_neighbor, observed.neighbors.values())) or any(map(owns_list, observed.prefix_lists))
