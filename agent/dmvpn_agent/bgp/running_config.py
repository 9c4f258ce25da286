"""Reads bgpd's running configuration.

It reads only what the agent works with, and ignores everything else: that is the operator's.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.bgp.neighbors import Neighbor, Observed, list_version, owns_list, owns_neighbor
from dmvpn_agent.bgp.operator_bgp import IPV6, OperatorBgp, opens_instance
from dmvpn_agent.bgp.operator_bgp_reader import read_operator_bgp
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.settings import MaximumPrefix
from dmvpn_agent.frr.show_json import FrrFormatError

#: The prefix that ``any`` stands for, and the longest prefix length in it, by IP version.
_EVERYTHING: Mapping[int, tuple[Network, int]] = {4: (IPv4Network("0.0.0.0/0"), 32), 6: (IPv6Network("::/0"), 128)}


#: Words that FRR allows instead of an AS number.
_AS_WORDS = frozenset({"internal", "external", "auto"})


def require_complete(config: str, *, framed: bool) -> None:
    """Raise ``FrrFormatError`` unless a text is a complete running configuration.

    Otherwise the agent would conclude that FRR lacks what is missing. vtysh ends the text with the line ``end``. The
    vty sockets do not; there the protocol marks the end (``framed``).
    """
    lines = config.rstrip().split("\n")
    if not any(line.startswith("frr version ") for line in lines):
        raise FrrFormatError("show running-config printed no configuration: `frr version` is missing")
    if not framed and lines[-1] != "end":
        raise FrrFormatError(f"the running configuration is cut off: its last line is {lines[-1]!r:.80}, not `end`")


def parse_running_config(text: str, vrf: str = "") -> Observed:
    """Read ``show running-config`` of FRR 8.4 to 10.7, or part of it; ``require_complete`` checks that it is whole.

    ``vrf``: that of the BGP instance to read, empty for the default one.

    Raises ``FrrFormatError`` for an unexpected line about the BGP instance or about what the agent owns. It ignores
    such a line about anything else; a neighbor with one counts as the operator's.
    """
    reader = _ConfigReader(read_operator_bgp(text, vrf), vrf)
    for line in text.split("\n"):
        try:
            reader.line(line)
        except (IndexError, ValueError, TypeError):
            reader.unreadable(line)
    return reader.observed()


class _ConfigReader:
    """Keeps track of the position: inside the BGP instance, and inside which address family."""

    def __init__(self, operator: OperatorBgp, vrf: str) -> None:
        self._operator = operator
        self._vrf = vrf
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
        self._unreadable: dict[Address, str] = {}

    def unreadable(self, line: str) -> None:
        """Record a line that cannot be read. Raises ``FrrFormatError`` if the agent depends on it."""
        words = line.split()
        if words[0] != "neighbor" and not (words[1:2] == ["prefix-list"] and not owns_list(words[2])):
            raise _unknown(line)
        if words[0] == "neighbor":
            self._unreadable[ip_address(words[1])] = line

    def observed(self) -> Observed:
        for address, line in self._unreadable.items():
            neighbor = self._neighbors.get(address, Neighbor(address))
            if owns_neighbor(neighbor):
                raise _unknown(line)
            # Without an AS number it does not look like one of the agent's that was cut short.
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
                self._requires_policy = False  # that profile's default, which the running configuration does not show
            elif opens_instance(words, self._vrf):
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
        """Return a neighbor with what it inherits: FRR prints that in its group only, or nowhere."""
        if neighbor.address not in self._without_ipv6 and self._operator.is_active(neighbor.peer_group, IPV6):
            neighbor = replace(neighbor, activates_ipv6=True)
        return self._with_group_as(neighbor)

    def _with_group_as(self, neighbor: Neighbor) -> Neighbor:
        """Return a neighbor with the AS number of its group, which FRR prints in the group only."""
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
                # The agent never writes a word here: the neighbor is the operator's.
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
        # In FRR an IPv4 and an IPv6 list may have the same name. The agent's names tell the IP version.
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
                raise ValueError("neither an entry nor a description")


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
        raise ValueError("0 is not an AS number")
    return number


def _number(text: str, largest: int = 2**32 - 1) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or (number := int(text)) > largest:
        raise ValueError(f"{text!r:.40} is not a number up to {largest}")
    return number


def _unknown(line: str) -> FrrFormatError:
    return FrrFormatError(f"unexpected line in the running configuration: {line.strip()!r:.200}")
