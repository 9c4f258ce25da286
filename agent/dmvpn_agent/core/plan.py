"""From what is observed to what is desired: the changes, in an order that is safe to interrupt.

The invariant, after any number of changes: no neighbor can announce more than it could before or than it is to.
Hence a filter stands before its neighbor and goes after it; a list loses entries before it gains any; and a
list always ends in ``deny any``, because FRR takes an empty prefix-list as permit everything.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from dmvpn_agent.core.desired import (
    DENY_ANY_SEQ,
    Desired,
    Entry,
    Neighbor,
    Observed,
    deny_any,
    owns_list,
    owns_neighbor,
)
from dmvpn_agent.core.model import Address


@dataclass(frozen=True, slots=True)
class AddEntry:
    """Put one entry into a prefix-list, which comes to be with its first."""

    prefix_list: str
    seq: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """Take one entry out of a prefix-list; never the last one."""

    prefix_list: str
    seq: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class RemoveList:
    """Take away a prefix-list with all its entries; a neighbor that uses it can announce nothing."""

    prefix_list: str


@dataclass(frozen=True, slots=True)
class SetNeighbor:
    """Make a neighbor what it is to be; ``before`` is what stands there, so that only differences are written."""

    neighbor: Neighbor
    before: Neighbor


@dataclass(frozen=True, slots=True)
class RemoveNeighbor:
    """Take away a neighbor of ours and with it its session."""

    address: Address


@dataclass(frozen=True, slots=True)
class RefreshInbound:
    """Have a neighbor's announcements judged again by its changed filters, without dropping the session.

    ``ipv6``: those of IPv6 prefixes as well.
    """

    address: Address
    ipv6: bool = False


Change = AddEntry | RemoveEntry | RemoveList | SetNeighbor | RemoveNeighbor | RefreshInbound


def subject(change: Change) -> str:
    """Return the name of the prefix-list or neighbor that a change is about."""
    match change:
        case AddEntry(name) | RemoveEntry(name) | RemoveList(name):
            return name
        case SetNeighbor(neighbor):
            return str(neighbor.address)
        case RemoveNeighbor(address) | RefreshInbound(address):
            return str(address)


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in order; ``foreign`` are desired neighbors whose address an operator's own neighbor has."""

    changes: tuple[Change, ...]
    foreign: tuple[Address, ...]


def plan(wanted: Desired, observed: Observed, stale: Collection[Address] = ()) -> Plan:
    """Return what turns the observed configuration into the desired one. Applied whole, the next plan is empty.

    ``stale``: neighbors whose filter was changed before, and whose announcements were not judged again yet.
    """
    foreign = tuple(
        address
        for address, neighbor in wanted.neighbors.items()
        if address in observed.neighbors and not _ours(observed.neighbors[address], neighbor, observed)
    )
    lists = {
        name: wanted.prefix_lists[name]
        for address, neighbor in wanted.neighbors.items()
        if address not in foreign
        for name in neighbor.prefix_lists
        if name in wanted.prefix_lists
    }
    changes = (
        *_fill_lists(lists, observed),
        *_drop_neighbors(wanted, observed),
        *_set_neighbors(wanted, observed, foreign),
        *_drop_lists(lists, observed),
    )
    return Plan((*changes, *_refreshes(changes, observed, stale)), foreign)


def _ours(found: Neighbor, neighbor: Neighbor, observed: Observed) -> bool:
    # A neighbor with nothing but our remote-as is one whose set-up was cut short before its description, if its
    # filter stands already: that comes first, and is not written where an operator's neighbor is.
    cut_short = found == Neighbor(neighbor.address, neighbor.as_number)
    return owns_neighbor(found) or (cut_short and neighbor.prefix_list in observed.prefix_lists)


def _fill_lists(lists: Mapping[str, frozenset[Entry]], observed: Observed) -> Iterator[Change]:
    for name, permits in sorted(lists.items()):
        present = observed.prefix_lists.get(name, {})
        last = deny_any(name)
        if last in present.values() and present.get(DENY_ANY_SEQ) != last:
            # FRR takes the same entry at another seq for done, without a word: it could not be put last.
            yield RemoveList(name)
            present = {}
        if present.get(DENY_ANY_SEQ) != last:
            # A line with an existing seq replaces the entry there.
            yield AddEntry(name, DENY_ANY_SEQ, last)
        kept: set[Entry] = set()
        for seq, entry in sorted(present.items()):
            if seq == DENY_ANY_SEQ:
                continue
            if entry in permits and entry not in kept:
                kept.add(entry)
            else:
                yield RemoveEntry(name, seq, entry)
        free = (seq for seq in count(5, 5) if seq not in present)
        for entry in sorted(permits - kept, key=lambda entry: (entry.prefix.network_address, entry.prefix.prefixlen)):
            yield AddEntry(name, next(free), entry)


def _drop_neighbors(wanted: Desired, observed: Observed) -> Iterator[Change]:
    for address, found in observed.neighbors.items():
        if owns_neighbor(found) and (
            address not in wanted.neighbors or _must_be_new(found, wanted.neighbors[address])
        ):
            yield RemoveNeighbor(address)


def _must_be_new(found: Neighbor, neighbor: Neighbor) -> bool:
    # bgpd: "Cannot change the peer-group. Deconfigure first".
    return found.peer_group is not None and found.peer_group != neighbor.peer_group


def _set_neighbors(wanted: Desired, observed: Observed, foreign: tuple[Address, ...]) -> Iterator[Change]:
    for address, neighbor in wanted.neighbors.items():
        before = observed.neighbors.get(address, Neighbor(address))
        if address in foreign or before == neighbor:
            continue
        yield SetNeighbor(neighbor, Neighbor(address) if _must_be_new(before, neighbor) else before)


def _drop_lists(lists: Mapping[str, frozenset[Entry]], observed: Observed) -> Iterator[Change]:
    # A neighbor that the operator made his own keeps the filter it has.
    foreign = {
        name for found in observed.neighbors.values() if not owns_neighbor(found) for name in found.prefix_lists
    }
    for name in sorted(observed.prefix_lists):
        if owns_list(name) and name not in lists and name not in foreign:
            yield RemoveList(name)


def _refreshes(
    changes: tuple[Change, ...], observed: Observed, stale: Collection[Address]
) -> Iterator[RefreshInbound]:
    # bgpd judges nothing again by itself when a prefix-list changes.
    edited = {change.prefix_list for change in changes if isinstance(change, AddEntry | RemoveEntry)}
    removed = {change.address for change in changes if isinstance(change, RemoveNeighbor)}
    for address, found in observed.neighbors.items():
        if (edited.intersection(found.prefix_lists) or address in stale) and address not in removed:
            yield RefreshInbound(address, found.activates_ipv6)
