"""Changes as vtysh lines.

The lines contain only parsed addresses, networks and integers, and names from the operator's own configuration.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.neighbors import Neighbor, list_version
from dmvpn_agent.bgp.plan import (
    AddEntry,
    Change,
    RefreshInbound,
    RemoveEntry,
    RemoveList,
    RemoveNeighbor,
    SetNeighbor,
)
from dmvpn_agent.bgp.settings import Instance, MaximumPrefix

_CONFIGURE = ("configure terminal",)


#: From this many lines on, prefix-lists are written in one transaction. Without it FRR processes all lists again for
#: each line: 2,000 lines took 53 s, in one transaction 0.3 s. But bgpd treats a transaction like a configuration file
#: and starts new neighbors a second after its end; so the few lines of one peer are written without.
MIN_TRANSACTION = 20


START_TRANSACTION, END_TRANSACTION = "XFRR_start_configuration", "XFRR_end_configuration"


def render(changes: Iterable[Change], instance: Instance, *, grouped: bool = False) -> list[str]:
    """Return the vtysh lines of changes, in order; they begin and end in enable mode.

    ``grouped``: many lines about prefix-lists become one transaction, as with ``vtysh -f``; not for operators.
    """
    return _render(changes, instance, lambda change: _lines(change, instance), grouped=grouped)


def annotate(changes: Iterable[Change], instance: Instance) -> list[str]:
    """Return the same lines with a comment before each change, which vtysh ignores."""
    return _render(changes, instance, lambda change: [f"! {describe(change)}", *_lines(change, instance)])


def _render(
    changes: Iterable[Change], instance: Instance, inside: Callable[[Change], list[str]], *, grouped: bool = False
) -> list[str]:
    lines: list[str] = []
    for opening, group in groupby(changes, lambda change: _opening(change, instance)):
        body = [line for change in group for line in inside(change)]
        if grouped and opening == _CONFIGURE and len(body) >= MIN_TRANSACTION:
            body = [START_TRANSACTION, *body, END_TRANSACTION]
        lines += [*opening, *body, *(["end"] if opening else [])]
    return lines


def _opening(change: Change, instance: Instance) -> tuple[str, ...]:
    match change:
        case AddEntry() | RemoveEntry() | RemoveList():
            return _CONFIGURE
        case SetNeighbor() | RemoveNeighbor():
            return ("configure terminal", str(instance))
        case RefreshInbound():
            return ()


def _lines(change: Change, instance: Instance) -> list[str]:
    match change:
        case AddEntry(name, seq, entry):
            return [f"{_list(name)} seq {seq} {entry}"]
        case RemoveEntry(name, seq, entry):
            return [f"no {_list(name)} seq {seq} {entry}"]
        case RemoveList(name):
            return [f"no {_list(name)}"]
        case SetNeighbor(neighbor, before):
            return _neighbor_lines(neighbor, before)
        case RemoveNeighbor(address):
            return [f"no neighbor {address}"]
        case RefreshInbound(address, ipv6):
            families = ("ipv4", "ipv6") if ipv6 else ("ipv4",)
            return [f"clear bgp {instance.in_show}{family} unicast {address} soft in" for family in families]


def _list(name: str) -> str:
    return f"{'ipv6' if list_version(name) == 6 else 'ip'} prefix-list {name}"


def _neighbor_lines(neighbor: Neighbor, before: Neighbor) -> list[str]:
    start = f"neighbor {neighbor.address}"
    lines = []
    if neighbor.as_number != before.as_number:
        lines.append(f"{start} remote-as {neighbor.as_number}")
    # The description comes next: it marks the neighbor as the agent's if the rest is cut off.
    if neighbor.description != before.description:
        lines.append(f"{start} description {neighbor.description}")
    # The filter comes before the group: a group's own policy alone might let everything in.
    lines += _in_family("ipv4", _routes_lines(start, _routes(neighbor, 4), _routes(before, 4)))
    lines += _in_family("ipv6", _ipv6_lines(start, neighbor, before))
    if neighbor.peer_group != before.peer_group:
        lines.append(f"{start} peer-group {neighbor.peer_group}")
    # When a neighbor joins a group, its activation becomes the group's; filter, limit and weight stay.
    joins = neighbor.peer_group != before.peer_group
    if neighbor.activates_ipv6 and (joins or not before.activates_ipv6):
        lines += _in_family("ipv6", [f"{start} activate"])
    elif joins and before.activates_ipv6:
        lines += _in_family("ipv6", [f"no {start} activate"])
    return lines


def _in_family(family: str, lines: Iterable[str]) -> list[str]:
    inside = list(lines)
    return [f"address-family {family} unicast", *inside, "exit-address-family"] if inside else []


def _ipv6_lines(start: str, neighbor: Neighbor, before: Neighbor) -> Iterator[str]:
    # The filter is set before activation, and removed after deactivation.
    if before.activates_ipv6 and not neighbor.activates_ipv6:
        yield f"no {start} activate"
    yield from _routes_lines(start, _routes(neighbor, 6), _routes(before, 6))


class _Routes(NamedTuple):
    """A neighbor's settings in one address family."""

    prefix_list: str | None
    maximum_prefix: MaximumPrefix | None
    weight: int | None


def _routes(neighbor: Neighbor, version: int) -> _Routes:
    if version == 4:
        return _Routes(neighbor.prefix_list, neighbor.maximum_prefix, neighbor.weight)
    return _Routes(neighbor.prefix_list_ipv6, neighbor.maximum_prefix_ipv6, neighbor.weight_ipv6)


def _routes_lines(start: str, now: _Routes, was: _Routes) -> Iterator[str]:
    if now.prefix_list != was.prefix_list:
        yield (
            f"no {start} prefix-list {was.prefix_list} in"
            if now.prefix_list is None
            else (f"{start} prefix-list {now.prefix_list} in")
        )
    if now.maximum_prefix != was.maximum_prefix:
        yield (
            f"no {start} maximum-prefix"
            if now.maximum_prefix is None
            else (f"{start} maximum-prefix {now.maximum_prefix}")
        )
    if now.weight != was.weight:
        yield f"no {start} weight" if now.weight is None else f"{start} weight {now.weight}"
