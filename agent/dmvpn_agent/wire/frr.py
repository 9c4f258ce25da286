"""FRR's running configuration and JSON output to core values, and changes to vtysh lines.

Lines are built from parsed addresses, networks and integers, and from names in the operator's own configuration.
Only what the agent works with is read; everything else in the configuration is the operator's and passed over.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import groupby
from typing import Any, NamedTuple

from dmvpn_agent.core.change_text import describe
from dmvpn_agent.core.desired import (
    MaximumPrefix,
    Neighbor,
    Observed,
    list_version,
    owns_list,
    owns_neighbor,
)
from dmvpn_agent.core.model import Address, Network
from dmvpn_agent.core.operator_bgp import IPV6, OperatorBgp
from dmvpn_agent.core.plan import (
    AddEntry,
    Change,
    RefreshInbound,
    RemoveEntry,
    RemoveList,
    RemoveNeighbor,
    SetNeighbor,
)
from dmvpn_agent.core.prefix_filter import Entry
from dmvpn_agent.wire import typed
from dmvpn_agent.wire.operator_bgp import read_operator_bgp

#: What ``any`` stands for, and the longest prefix in it, by IP version.
_EVERYTHING: Mapping[int, tuple[Network, int]] = {4: (IPv4Network("0.0.0.0/0"), 32), 6: (IPv6Network("::/0"), 128)}

#: What can stand instead of an AS number.
_AS_WORDS = frozenset({"internal", "external", "auto"})

_CONFIGURE = ("configure terminal",)


class FrrFormatError(Exception):
    """FRR printed something that is not in the form this program knows."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One row of nhrpd's cache."""

    interface: str
    binding_type: str
    protocol_address: Address
    nbma_address: Address | None


@dataclass(frozen=True, slots=True)
class Session:
    """One row of ``show bgp ipv4 unicast summary json``; ``prefixes`` are those accepted.

    ``dynamic``: it came by a ``bgp listen range``, and no line of the configuration has it.
    """

    state: str
    prefixes: int
    dynamic: bool = False

    @property
    def over_limit(self) -> bool:
        """Tell whether bgpd ended the session at the neighbor's ``maximum-prefix``, and waits."""
        return self.state == "Idle (PfxCt)"


def require_whole(config: str, *, framed: bool) -> None:
    """Raise ``FrrFormatError`` for text that is not a running configuration, or not a whole one.

    Otherwise a missing part would count as something that FRR does not have. vtysh ends it with the line ``end``. A
    daemon's own socket does not; there its end is known (``framed``) because the protocol has one.
    """
    lines = config.rstrip().split("\n")
    if not any(line.startswith("frr version ") for line in lines):
        raise FrrFormatError("show running-config printed no configuration: `frr version` is missing")
    if not framed and lines[-1] != "end":
        raise FrrFormatError(f"the running configuration is cut off: its last line is {lines[-1]!r:.80}, not `end`")


def parse_running_config(text: str) -> Observed:
    """Read ``show running-config`` of FRR 8.4 to 10.6, or part of it; whether it is whole ``require_whole`` tells.

    Raises ``FrrFormatError`` for a line on what is the agent's, or on the BGP instance, that is not as known. Such a
    line on something else is the operator's matter, and passed over; a neighbor with one counts as the operator's.
    """
    reader = _ConfigReader(read_operator_bgp(text))
    for line in text.split("\n"):
        try:
            reader.line(line)
        except (IndexError, ValueError, TypeError):
            reader.unreadable(line)
    return reader.observed()


class _ConfigReader:
    """Keeps the place in the configuration: the default BGP instance, and in it the address family."""

    def __init__(self, operator: OperatorBgp) -> None:
        self._operator = operator
        self._in_bgp = False
        self._family: str | None = None
        self._as_number: int | None = None
        self._requires_policy = True
        self._without_ipv6: set[Address] = set()
        self._activates = True
        self._groups: set[str] = set()
        self._group_as: dict[str, str] = {}
        self._neighbors: dict[Address, Neighbor] = {}
        self._lists: dict[str, dict[int, Entry]] = {}
        self._doubtful: dict[Address, str] = {}

    def unreadable(self, line: str) -> None:
        words = line.split()
        if words[0] != "neighbor" and not (words[1:2] == ["prefix-list"] and not owns_list(words[2])):
            raise _unknown(line)
        if words[0] == "neighbor":
            self._doubtful[ip_address(words[1])] = line

    def observed(self) -> Observed:
        for address, line in self._doubtful.items():
            neighbor = self._neighbors.get(address, Neighbor(address))
            if owns_neighbor(neighbor):
                raise _unknown(line)
            # Without an AS number it cannot be taken for one of ours that was cut short.
            self._neighbors[address] = replace(neighbor, as_number=None, peer_group=None)
        return Observed(
            as_number=self._as_number,
            requires_policy=self._requires_policy,
            activates_ipv4=self._activates,
            peer_groups=frozenset(self._groups),
            neighbors={address: self._inherited(one) for address, one in self._neighbors.items()},
            prefix_lists=self._lists,
            operator=self._operator,
        )

    def line(self, line: str) -> None:
        words = line.split()
        if not line.startswith(" "):
            self._in_bgp = False
            self._family = None
            if words[:3] == ["frr", "defaults", "datacenter"]:
                self._requires_policy = False  # the default there, so the running configuration does not show it
            elif words[:2] == ["router", "bgp"] and words[3:4] in ([], ["as-notation"]):  # no `view` or `vrf`
                self._in_bgp, self._as_number = True, _as_number(words[2])
            elif words[:2] == ["ip", "prefix-list"]:
                self._prefix_list(words[2:], 4)
            elif words[:2] == ["ipv6", "prefix-list"]:
                self._prefix_list(words[2:], 6)
        elif self._in_bgp:
            self._bgp_line(words)

    def _bgp_line(self, words: list[str]) -> None:
        match words:
            case ["address-family", *family]:
                self._family = " ".join(family)
            case ["exit-address-family"]:
                self._family = None
            case [*no, "bgp", "ebgp-requires-policy"]:
                self._requires_policy = not no
            case ["no", "bgp", "default", "ipv4-unicast"]:
                self._activates = False
            case ["neighbor", name, "peer-group"]:
                self._groups.add(name)
            case ["neighbor", name, "remote-as", number] if name in self._groups:
                self._group_as[name] = number
            case ["neighbor", name, *rest]:
                self._neighbor(name, rest)
            case ["no", "neighbor", name, "activate"] if self._family == IPV6:
                with suppress(ValueError):  # a peer-group's or an interface's line
                    self._without_ipv6.add(ip_address(name))

    def _inherited(self, neighbor: Neighbor) -> Neighbor:
        """Return a neighbor with what FRR prints only where it comes from: at its group, or nowhere."""
        if neighbor.address not in self._without_ipv6 and self._operator.is_active(neighbor.peer_group, IPV6):
            neighbor = replace(neighbor, activates_ipv6=True)
        return self._with_group_as(neighbor)

    def _with_group_as(self, neighbor: Neighbor) -> Neighbor:
        """Return a neighbor with the AS number of its group: FRR prints it there only."""
        number = self._group_as.get(neighbor.peer_group or "")
        if neighbor.as_number is not None or number is None:
            return neighbor
        if number == "internal":
            return replace(neighbor, as_number=self._as_number)
        try:
            return neighbor if number in _AS_WORDS else replace(neighbor, as_number=_as_number(number))
        except ValueError:
            return neighbor

    def _neighbor(self, name: str, words: list[str]) -> None:
        try:
            address = ip_address(name)
        except ValueError:
            return  # a peer-group's or an interface's line
        neighbor = self._neighbors.get(address, Neighbor(address))
        match words:
            case ["remote-as", number]:
                # A word instead of a number is never ours: the neighbor counts as the operator's.
                named = number in _AS_WORDS
                neighbor = replace(neighbor, as_number=None if named else _as_number(number))
            case ["peer-group", group]:
                neighbor = replace(neighbor, peer_group=group)
            case ["description", *text]:
                neighbor = replace(neighbor, description=" ".join(text))
            case ["prefix-list", prefix_list, "in"] if self._family == "ipv4 unicast":
                neighbor = replace(neighbor, prefix_list=prefix_list)
            case ["prefix-list", prefix_list, "in"] if self._family == "ipv6 unicast":
                neighbor = replace(neighbor, prefix_list_ipv6=prefix_list)
            case ["maximum-prefix", *words] if self._family == "ipv4 unicast":
                neighbor = replace(neighbor, maximum_prefix=_maximum_prefix(words))
            case ["maximum-prefix", *words] if self._family == "ipv6 unicast":
                neighbor = replace(neighbor, maximum_prefix_ipv6=_maximum_prefix(words))
            case ["weight", weight] if self._family == "ipv4 unicast":
                neighbor = replace(neighbor, weight=_number(weight))
            case ["weight", weight] if self._family == "ipv6 unicast":
                neighbor = replace(neighbor, weight_ipv6=_number(weight))
            case ["activate"] if self._family == "ipv6 unicast":
                neighbor = replace(neighbor, activates_ipv6=True)
        self._neighbors[address] = neighbor

    def _prefix_list(self, words: list[str], version: int) -> None:
        # FRR lets an IPv4 and an IPv6 list have one name; ours tell the version, and what does not fit is not ours.
        if not words or list_version(words[0]) != version:
            return
        every, longest = _EVERYTHING[version]
        match words:
            case [name, "seq", seq, ("permit" | "deny") as action, prefix, *limits]:
                entry = Entry(
                    permit=action == "permit",
                    prefix=every if prefix == "any" else _network(prefix),
                    **{key: _number(value) for key, value in zip(limits[::2], limits[1::2], strict=True)},
                )
                if prefix == "any":
                    entry = replace(entry, le=longest)
                self._lists.setdefault(name, {})[_number(seq)] = entry
            case [name, "description", *_]:
                self._lists.setdefault(name, {})
            case [name, *_] if owns_list(name):
                raise ValueError("no entry and no description")


def _maximum_prefix(words: list[str]) -> MaximumPrefix:
    match words:
        case [maximum]:
            return MaximumPrefix(_number(maximum))
        case [maximum, "restart", minutes]:
            return MaximumPrefix(_number(maximum), _number(minutes))
    return MaximumPrefix(_number(words[0]), other=True)


def _network(text: str) -> Network:
    return ip_network(text)


def _as_number(text: str) -> int:
    high, _, low = text.rpartition(".")  # `bgp asnotation dot` writes 1.10
    number = (_number(high, 0xFFFF) << 16) + _number(low, 0xFFFF) if high else _number(low)
    if not number:
        raise ValueError("no AS number is 0")
    return number


def _number(text: str, largest: int = 2**32 - 1) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or (number := int(text)) > largest:
        raise ValueError(f"{text!r:.40} is no number up to {largest}")
    return number


def _unknown(line: str) -> FrrFormatError:
    return FrrFormatError(f"the running configuration has a line that is not as known: {line.strip()!r:.200}")


_REFUSED = (KeyError, AttributeError, TypeError, ValueError)
_SUMMARY = "show bgp ipv4 unicast summary json"
#: What prints nhrpd's bindings, by the IP version of their protocol addresses: it keeps a table for each.
CACHE_COMMANDS: Mapping[int, str] = {4: "show ip nhrp cache json", 6: "show ipv6 nhrp cache json"}


def _raise(why: str) -> None:
    raise FrrFormatError(why)


def parse_nhrp_cache(text: str, skip: Callable[[str], None] = _raise, version: int = 4) -> tuple[CacheEntry, ...]:
    """Read what ``CACHE_COMMANDS[version]`` printed.

    ``skip`` is called for each row that cannot be read, with why; the rows returned are then not all. Without it,
    such a row raises. Raises ``FrrFormatError``.
    """
    command = CACHE_COMMANDS[version]
    rows = _object(text, command).get("table")
    if not isinstance(rows, list):
        raise FrrFormatError(f"{command} has no table")
    entries = []
    for row in rows:
        try:
            entries.append(_cache_entry(typed.mapping(row)))
        except _REFUSED as error:
            skip(f"{command}: a row is not as known ({type(error).__name__} {error}): {typed.brief(row, 200)}")
    return tuple(entries)


def _cache_entry(row: Mapping[str, Any]) -> CacheEntry:
    nbma = row.get("nbma")
    return CacheEntry(
        interface=typed.text(row["interface"]),
        binding_type=typed.text(row["type"]),
        protocol_address=ip_address(typed.text(row["protocol"])),
        nbma_address=ip_address(typed.text(nbma)) if nbma and nbma != "-" else None,
    )


def parse_bgp_summary(text: str, skip: Callable[[str], None] = _raise) -> Mapping[Address, Session]:
    """Read ``show bgp ipv4 unicast summary json``; neighbors named by interface are passed over.

    ``skip`` is called for each row that cannot be read, with why. Without it, such a row raises. Raises
    ``FrrFormatError``.
    """
    peers = _object(text, _SUMMARY).get("peers", {})
    if not isinstance(peers, dict):
        raise FrrFormatError(f"{_SUMMARY}: peers is no object")
    sessions: dict[Address, Session] = {}
    for name, item in peers.items():
        try:
            row = typed.mapping(item)
            if row.get("idType") != "interface":
                sessions[ip_address(name)] = Session(
                    typed.text(row["state"]), typed.integer(row.get("pfxRcd", 0)), row.get("dynamicPeer") is True
                )
        except _REFUSED as error:
            skip(f"{_SUMMARY}: a row is not as known ({type(error).__name__} {error}): {name!r:.60}")
    return sessions


def _object(text: str, command: str) -> dict[str, Any]:
    try:
        value = typed.document(text)
    except ValueError as error:
        raise FrrFormatError(f"{command} printed no JSON: {text[:200]!r}") from error
    if not isinstance(value, dict):
        raise FrrFormatError(f"{command} printed no JSON object")
    return value


#: From how many lines on prefix-lists are written as one transaction. FRR otherwise looks at all lists again for each
#: line: 2,000 lines took 53 s, as one transaction 0.3 s. But bgpd takes that for the start of a configuration file,
#: and starts no new neighbor until a second after its end; so it is not done for the few lines of one peer.
MIN_TRANSACTION = 20
START_TRANSACTION, END_TRANSACTION = "XFRR_start_configuration", "XFRR_end_configuration"


def render(changes: Iterable[Change], as_number: int, *, grouped: bool = False) -> list[str]:
    """Return the vtysh lines of changes, in their order, that begin and end at the top (``enable``).

    ``grouped``: many lines on prefix-lists are one transaction, as ``vtysh -f`` has it; for FRR, not for people.
    """
    return _render(changes, as_number, _lines, grouped=grouped)


def annotate(changes: Iterable[Change], as_number: int) -> list[str]:
    """Return the same lines with what each change means before its own, as a comment, which vtysh passes over."""
    return _render(changes, as_number, lambda change: [f"! {describe(change)}", *_lines(change)])


def _render(
    changes: Iterable[Change], as_number: int, inside: Callable[[Change], list[str]], *, grouped: bool = False
) -> list[str]:
    lines: list[str] = []
    for opening, group in groupby(changes, lambda change: _opening(change, as_number)):
        body = [line for change in group for line in inside(change)]
        if grouped and opening == _CONFIGURE and len(body) >= MIN_TRANSACTION:
            body = [START_TRANSACTION, *body, END_TRANSACTION]
        lines += [*opening, *body, *(["end"] if opening else [])]
    return lines


def _opening(change: Change, as_number: int) -> tuple[str, ...]:
    match change:
        case AddEntry() | RemoveEntry() | RemoveList():
            return _CONFIGURE
        case SetNeighbor() | RemoveNeighbor():
            return ("configure terminal", f"router bgp {as_number}")
        case RefreshInbound():
            return ()


def _lines(change: Change) -> list[str]:
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
            return [f"clear bgp {family} unicast {address} soft in" for family in families]


def _list(name: str) -> str:
    return f"{'ipv6' if list_version(name) == 6 else 'ip'} prefix-list {name}"


def _neighbor_lines(neighbor: Neighbor, before: Neighbor) -> list[str]:
    start = f"neighbor {neighbor.address}"
    lines = []
    if neighbor.as_number != before.as_number:
        lines.append(f"{start} remote-as {neighbor.as_number}")
    # The description follows at once: it marks the neighbor as ours should the rest not come through.
    if neighbor.description != before.description:
        lines.append(f"{start} description {neighbor.description}")
    # The filter comes before the group, which may bring a policy of its own: that alone would let everything in.
    lines += _in_family("ipv4", _routes_lines(start, _routes(neighbor, 4), _routes(before, 4)))
    lines += _in_family("ipv6", _ipv6_lines(start, neighbor, before))
    if neighbor.peer_group != before.peer_group:
        lines.append(f"{start} peer-group {neighbor.peer_group}")
    # Joining a group takes away what the group has not, and gives what it has; filter, limit and weight stay.
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
    # The filter stands before the first prefix can come, and until the last has gone.
    if before.activates_ipv6 and not neighbor.activates_ipv6:
        yield f"no {start} activate"
    yield from _routes_lines(start, _routes(neighbor, 6), _routes(before, 6))


class _Routes(NamedTuple):
    """What is written of a neighbor in one address family."""

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
