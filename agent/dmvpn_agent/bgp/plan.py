"""From what is observed to what is desired: the changes, in an order that is safe to interrupt.

The invariant, after any number of changes: no neighbor can announce more than it could before or than it is to.
Hence a filter stands before its neighbor and goes after it; a list loses permissions first, then gains its denials,
and gains permissions last; and a list always ends in ``deny any``, because FRR takes an empty prefix-list as permit
everything.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import DENY_ANY_SEQ, Desired, Neighbor, Observed, deny_any, owns_list, owns_neighbor
from dmvpn_agent.bgp.operator_bgp import IPV6
from dmvpn_agent.bgp.prefix_filter import Entry

#: In a list with denials these stand before this seq, and what is permitted behind it.
FIRST_PERMIT_SEQ = 1_000_000_000


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
    operator_neighbors: tuple[Address, ...]


def plan(wanted: Desired, observed: Observed, stale: Collection[Address] = ()) -> Plan:
    """Return what turns the observed configuration into the desired one. Applied whole, the next plan is empty.

    ``stale``: neighbors whose filter was changed before, and whose announcements were not judged again yet.
    """
    foreign = tuple(
        address
        for address, neighbor in wanted.neighbors.items()
        if address in observed.neighbors and not is_ours(observed.neighbors[address], neighbor, observed)
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


def is_ours(found: Neighbor, neighbor: Neighbor, observed: Observed) -> bool:
    """Tell whether a neighbor that stands at the address of a desired one is the agent's."""
    # A neighbor with nothing but our remote-as is one whose set-up was cut short before its description, if its
    # filter stands already: that comes first, and is not written where an operator's neighbor is.
    # (``bgp default ipv6-unicast`` has it exchange IPv6 prefixes without a line of its own.)
    cut_short = replace(found, activates_ipv6=False) == Neighbor(neighbor.address, neighbor.as_number)
    return owns_neighbor(found) or (cut_short and neighbor.prefix_list in observed.prefix_lists)


def _fill_lists(lists: Mapping[str, frozenset[Entry]], observed: Observed) -> Iterator[Change]:
    for name, entries in sorted(lists.items()):
        present = observed.prefix_lists.get(name, {})
        last = deny_any(name)
        if last in present.values() and present.get(DENY_ANY_SEQ) != last:
            # FRR takes the same entry at another seq for done, without a word: it could not be put last.
            yield RemoveList(name)
            present = {}
        if present.get(DENY_ANY_SEQ) != last:
            # A line with an existing seq replaces the entry there.
            yield AddEntry(name, DENY_ANY_SEQ, last)
        yield from _fill_list(name, entries, {seq: one for seq, one in present.items() if seq != DENY_ANY_SEQ})


def _fill_list(name: str, entries: frozenset[Entry], present: Mapping[int, Entry]) -> Iterator[Change]:
    """Yield what makes a list's entries as wanted, the denials before ``FIRST_PERMIT_SEQ`` and the rest behind it.

    A list without denials keeps its permissions wherever they stand.
    """
    denials = frozenset(entry for entry in entries if not entry.permit)
    permits = entries - denials
    kept_denials = _in_place(present, denials, range(FIRST_PERMIT_SEQ))
    kept_permits = _in_place(present, permits, range(FIRST_PERMIT_SEQ if denials else 0, DENY_ANY_SEQ))
    if denials & {entry for seq, entry in present.items() if seq not in kept_denials}:
        # FRR takes an entry only once, so a denial at the wrong place has to go before it can stand at the right one.
        kept_permits = {}
    removed = [(seq, present[seq]) for seq in sorted(present) if seq not in kept_denials and seq not in kept_permits]
    yield from (RemoveEntry(name, seq, entry) for seq, entry in removed if entry.permit)
    misplaced = [(seq, entry) for seq, entry in removed if entry in denials]
    yield from (RemoveEntry(name, seq, entry) for seq, entry in misplaced)
    yield from _added(name, denials - set(kept_denials.values()), count(5, 5), present)
    yield from (RemoveEntry(name, seq, entry) for seq, entry in removed if not entry.permit and entry not in denials)
    first = FIRST_PERMIT_SEQ + 5 if denials else 5
    yield from _added(name, permits - set(kept_permits.values()), count(first, 5), present)


def _in_place(present: Mapping[int, Entry], wanted: frozenset[Entry], places: range) -> dict[int, Entry]:
    """Return the entries that are wanted and stand where they may, by seq, each once."""
    seqs: dict[Entry, int] = {}
    for seq, entry in sorted(present.items()):
        if entry in wanted and seq in places:
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
        before = Neighbor(address) if _must_be_new(before, neighbor) else before
        if before.peer_group is None and observed.operator.is_active(neighbor.peer_group, IPV6):
            before = replace(before, activates_ipv6=True)  # as it will be in its group
        yield SetNeighbor(neighbor, before)


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
