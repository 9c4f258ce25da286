"""The changes from the observed to the desired configuration, in an order that is safe to interrupt.

The invariant, after any number of changes: no neighbor can announce more than it could before, or more than it will
be able to at the end. So a filter is written before its neighbor and removed after it; a list loses permissions
first, then gains denials, and gains permissions last; and a list always ends in ``deny any``, because in FRR a
prefix-list without entries permits everything.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import DENY_ANY_SEQ, Desired, Neighbor, Observed, deny_any, owns_list, owns_neighbor
from dmvpn_agent.bgp.operator_bgp import IPV6
from dmvpn_agent.bgp.prefix_filter import Entry

#: In a list with denials, their sequence numbers are below this one, and those of permissions above.
FIRST_PERMIT_SEQ = 1_000_000_000


@dataclass(frozen=True, slots=True)
class AddEntry:
    """Add an entry to a prefix-list; the first entry creates the list."""

    prefix_list: str
    seq: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """Remove an entry from a prefix-list, never its last one."""

    prefix_list: str
    seq: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class RemoveList:
    """Remove a prefix-list with all its entries; a neighbor that still names it can announce nothing."""

    prefix_list: str


@dataclass(frozen=True, slots=True)
class SetNeighbor:
    """Create or change a neighbor; ``before`` is its present state, so that only differences are written."""

    neighbor: Neighbor
    before: Neighbor

    @property
    def is_new(self) -> bool:
        """Tell whether FRR has no such neighbor yet."""
        return replace(self.before, activates_ipv6=False) == Neighbor(self.neighbor.address)

    @property
    def filters(self) -> bool:
        """Tell whether it gives a neighbor that exists a filter that it lacks."""
        return not self.is_new and self.neighbor.prefix_lists != self.before.prefix_lists


@dataclass(frozen=True, slots=True)
class RemoveNeighbor:
    """Remove one of the agent's neighbors, and with it its session."""

    address: Address


@dataclass(frozen=True, slots=True)
class RefreshInbound:
    """Apply a neighbor's changed filters to its routes without resetting the session (``clear … soft in``).

    ``ipv6``: to its IPv6 routes as well.
    """

    address: Address
    ipv6: bool = False


Change = AddEntry | RemoveEntry | RemoveList | SetNeighbor | RemoveNeighbor | RefreshInbound


def subject(change: Change) -> str:
    """Return the prefix-list name or neighbor address that a change is about."""
    match change:
        case AddEntry(name) | RemoveEntry(name) | RemoveList(name):
            return name
        case SetNeighbor(neighbor):
            return str(neighbor.address)
        case RemoveNeighbor(address) | RefreshInbound(address):
            return str(address)


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in order. ``operator_neighbors``: peers at whose address the operator has a neighbor of his own."""

    changes: tuple[Change, ...]
    operator_neighbors: tuple[Address, ...]


def plan(wanted: Desired, observed: Observed, refresh_pending: Collection[Address] = ()) -> Plan:
    """Return the changes from the observed to the desired configuration; once applied, the next plan is empty.

    ``refresh_pending``: neighbors whose filter changed earlier without a ``RefreshInbound`` since.
    """
    operator_neighbors = tuple(
        address
        for address, neighbor in wanted.neighbors.items()
        if address in observed.neighbors and not is_ours(observed.neighbors[address], neighbor, observed)
    )
    lists = {
        name: wanted.prefix_lists[name]
        for address, neighbor in wanted.neighbors.items()
        if address not in operator_neighbors
        for name in neighbor.prefix_lists
        if name in wanted.prefix_lists
    }
    changes = (
        *_fill_lists(lists, observed),
        *_drop_neighbors(wanted, observed),
        *_set_neighbors(wanted, observed, operator_neighbors),
        *_drop_lists(lists, observed),
    )
    return Plan((*changes, *_refreshes(changes, observed, refresh_pending)), operator_neighbors)


def is_ours(found: Neighbor, neighbor: Neighbor, observed: Observed) -> bool:
    """Tell whether the neighbor that FRR has at the address of a desired one is the agent's."""
    # The agent writes the filter first, then remote-as, then the description. A neighbor with its filter's list and
    # remote-as alone was cut short: the agent writes no list for an operator's neighbor.
    # (With ``bgp default ipv6-unicast`` it is active in IPv6 without a line of its own.)
    cut_short = replace(found, activates_ipv6=False) == Neighbor(neighbor.address, neighbor.as_number)
    return owns_neighbor(found) or (cut_short and neighbor.prefix_list in observed.prefix_lists)


def _fill_lists(lists: Mapping[str, frozenset[Entry]], observed: Observed) -> Iterator[Change]:
    for name, entries in sorted(lists.items()):
        present = observed.prefix_lists.get(name, {})
        last = deny_any(name)
        if last in present.values() and present.get(DENY_ANY_SEQ) != last:
            # FRR silently ignores an entry that the list has at another seq: it could not become the last one.
            yield RemoveList(name)
            present = {}
        if present.get(DENY_ANY_SEQ) != last:
            # An existing seq: the line replaces the entry there.
            yield AddEntry(name, DENY_ANY_SEQ, last)
        yield from _fill_list(name, entries, {seq: one for seq, one in present.items() if seq != DENY_ANY_SEQ})


def _fill_list(name: str, entries: frozenset[Entry], present: Mapping[int, Entry]) -> Iterator[Change]:
    """Yield the changes to a list's entries, with denials before ``FIRST_PERMIT_SEQ`` and permissions after it.

    In a list without denials permissions keep any sequence number.
    """
    denials = frozenset(entry for entry in entries if not entry.permit)
    permits = entries - denials
    kept_denials = _kept(present, denials, range(FIRST_PERMIT_SEQ))
    kept_permits = _kept(present, permits, range(FIRST_PERMIT_SEQ if denials else 0, DENY_ANY_SEQ))
    if denials & {entry for seq, entry in present.items() if seq not in kept_denials}:
        # FRR has an entry only once: a misplaced denial must be removed before it is added at the right place.
        kept_permits = {}
    removed = [(seq, present[seq]) for seq in sorted(present) if seq not in kept_denials and seq not in kept_permits]
    yield from (RemoveEntry(name, seq, entry) for seq, entry in removed if entry.permit)
    misplaced = [(seq, entry) for seq, entry in removed if entry in denials]
    yield from (RemoveEntry(name, seq, entry) for seq, entry in misplaced)
    yield from _added(name, denials - set(kept_denials.values()), count(5, 5), present)
    yield from (RemoveEntry(name, seq, entry) for seq, entry in removed if not entry.permit and entry not in denials)
    first = FIRST_PERMIT_SEQ + 5 if denials else 5
    yield from _added(name, permits - set(kept_permits.values()), count(first, 5), present)


def _kept(present: Mapping[int, Entry], wanted: frozenset[Entry], valid_seqs: range) -> dict[int, Entry]:
    """Return the wanted entries with a valid sequence number, by that number, each once."""
    seqs: dict[Entry, int] = {}
    for seq, entry in sorted(present.items()):
        if entry in wanted and seq in valid_seqs:
            seqs.setdefault(entry, seq)
    return {seq: entry for entry, seq in seqs.items()}


def _added(
    name: str, entries: frozenset[Entry], seqs: Iterator[int], present: Mapping[int, Entry]
) -> Iterator[Change]:
    free = (seq for seq in seqs if seq not in present)
    for entry in sorted(entries, key=_order):
        yield AddEntry(name, next(free), entry)


def _order(entry: Entry) -> tuple[int, int, int, int]:
    return int(entry.prefix.network_address), entry.prefix.prefixlen, entry.ge or 0, entry.le or 0


def _drop_neighbors(wanted: Desired, observed: Observed) -> Iterator[Change]:
    for address, found in observed.neighbors.items():
        if owns_neighbor(found) and (
            address not in wanted.neighbors or _must_recreate(found, wanted.neighbors[address])
        ):
            yield RemoveNeighbor(address)


def _must_recreate(found: Neighbor, neighbor: Neighbor) -> bool:
    # bgpd: "Cannot change the peer-group. Deconfigure first".
    return found.peer_group is not None and found.peer_group != neighbor.peer_group


def _set_neighbors(wanted: Desired, observed: Observed, operator_neighbors: tuple[Address, ...]) -> Iterator[Change]:
    for address, neighbor in wanted.neighbors.items():
        before = observed.neighbors.get(address, Neighbor(address))
        if address in operator_neighbors or before == neighbor:
            continue
        before = Neighbor(address) if _must_recreate(before, neighbor) else before
        yield SetNeighbor(neighbor, _joining(before, neighbor, observed))


def _joining(before: Neighbor, neighbor: Neighbor, observed: Observed) -> Neighbor:
    """Return the state before a change as it is in the neighbor's group: it inherits its activation from there."""
    joins = before.peer_group is None and observed.operator.is_active(neighbor.peer_group, IPV6)
    return replace(before, activates_ipv6=True) if joins else before


def recreate(change: SetNeighbor, observed: Observed) -> tuple[RemoveNeighbor, SetNeighbor]:
    """Return the changes that remove the neighbor and write it anew, with its filter before its group."""
    address = change.neighbor.address
    return RemoveNeighbor(address), replace(change, before=_joining(Neighbor(address), change.neighbor, observed))


def _drop_lists(lists: Mapping[str, frozenset[Entry]], observed: Observed) -> Iterator[Change]:
    # A neighbor that the operator took over keeps its filter.
    in_use = {
        name for found in observed.neighbors.values() if not owns_neighbor(found) for name in found.prefix_lists
    }
    for name in sorted(observed.prefix_lists):
        if owns_list(name) and name not in lists and name not in in_use:
            yield RemoveList(name)


def _refreshes(
    changes: tuple[Change, ...], observed: Observed, refresh_pending: Collection[Address]
) -> Iterator[RefreshInbound]:
    # bgpd does not apply a changed prefix-list to the routes that it has.
    edited = {change.prefix_list for change in changes if isinstance(change, AddEntry | RemoveEntry)}
    removed = {change.address for change in changes if isinstance(change, RemoveNeighbor)}
    for address, found in observed.neighbors.items():
        if (edited.intersection(found.prefix_lists) or address in refresh_pending) and address not in removed:
            yield RefreshInbound(address, found.activates_ipv6)
