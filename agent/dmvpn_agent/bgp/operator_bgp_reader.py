"""Reads the operator's part of bgpd's ``show running-config``.

Nothing in it is an error: unknown lines are ignored.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.operator_bgp import (
    FILTERS,
    IPV4,
    GroupFamily,
    ListenRange,
    OperatorBgp,
    PeerGroup,
    opens_instance,
)

#: How filters are defined: the words before the name, and the ``neighbor`` command that uses it.
_DEFINITIONS: Mapping[tuple[str, ...], str] = {
    ("ip", "prefix-list"): "prefix-list",
    ("ipv6", "prefix-list"): "prefix-list",
    ("route-map",): "route-map",
    ("bgp", "as-path", "access-list"): "filter-list",
    ("ip", "as-path", "access-list"): "filter-list",
    ("access-list",): "distribute-list",
    ("ip", "access-list"): "distribute-list",
    ("ipv6", "access-list"): "distribute-list",
}

#: What a word after ``neighbor GROUP`` sets in the group.
_GROUP_WORDS: Mapping[str, Callable[[PeerGroup], PeerGroup]] = {
    "passive": lambda group: replace(group, passive=True),
    "shutdown": lambda group: replace(group, shutdown=True),
    "disable-connected-check": lambda group: replace(group, skips_connected_check=True),
    "ebgp-multihop": lambda group: replace(group, skips_connected_check=True),
    "ttl-security": lambda group: replace(group, skips_connected_check=True),
    "sender-as-path-loop-detection": lambda group: replace(group, sender_loop_detection=True),
}


def read_operator_bgp(text: str, vrf: str = "") -> OperatorBgp:
    """Return the operator's part of a running configuration of bgpd."""
    reader = _Reader(vrf)
    for line in text.split("\n"):
        with suppress(ValueError):  # not an address, not a network
            reader.line(line)
    return reader.found()


class _Reader:
    """Keeps track of the position: inside the instance, and inside which address family."""

    def __init__(self, vrf: str) -> None:
        self._vrf = vrf
        self._in_bgp = False
        self._family: str | None = None
        self._bgp = OperatorBgp()
        self._groups: dict[str, PeerGroup] = {}
        self._interfaces: dict[str, str] = {}
        self._shut_down: set[Address] = set()
        self._defined_filters: set[tuple[str, str]] = set()

    def found(self) -> OperatorBgp:
        return replace(
            self._bgp,
            groups=self._groups,
            interfaces=self._interfaces,
            shut_down=frozenset(self._shut_down),
            defined_filters=frozenset(self._defined_filters),
        )

    def line(self, line: str) -> None:
        words = line.split()
        if line.startswith(" "):
            if self._in_bgp:
                self._instance_line(words)
            return
        self._in_bgp, self._family = False, None
        if words[:2] == ["router", "bgp"]:
            self._in_bgp = opens_instance(words, self._vrf)
            if not self._in_bgp:
                self._bgp = replace(self._bgp, other_instances=(*self._bgp.other_instances, " ".join(words)))
        for start, command in _DEFINITIONS.items():
            if tuple(words[: len(start)]) == start and len(words) > len(start):
                self._defined_filters.add((command, words[len(start)]))

    def _instance_line(self, words: list[str]) -> None:
        match words:
            case ["address-family", *family]:
                self._family = " ".join(family)
            case ["exit-address-family"]:
                self._family = None
            case ["no", "bgp", "default", family]:
                self._default(family, active=False)
            case ["no", "neighbor", name, "activate"] if name in self._groups:
                self._in_family(name, active=False)
            case ["bgp", *rest]:
                self._bgp_line(rest)
            case ["neighbor", name, *rest]:
                self._neighbor_line(name, rest)

    def _bgp_line(self, words: list[str]) -> None:
        match words:
            case ["default", "shutdown"]:
                self._bgp = replace(self._bgp, default_shutdown=True)
            case ["default", family]:
                self._default(family, active=True)
            case ["shutdown", *_]:
                self._bgp = replace(self._bgp, shutdown=True)
            case ["disable-ebgp-connected-route-check"]:
                self._bgp = replace(self._bgp, connected_check=False)
            case ["confederation", *_]:
                self._bgp = replace(self._bgp, confederation=True)
            case ["listen", "range", network, "peer-group", group]:
                ranges = (*self._bgp.listen_ranges, ListenRange(ip_network(network), group))
                self._bgp = replace(self._bgp, listen_ranges=ranges)

    def _neighbor_line(self, name: str, words: list[str]) -> None:
        if words == ["peer-group"]:
            self._groups.setdefault(name, PeerGroup())
        elif name in self._groups:
            self._group_line(name, words)
        elif words[:1] == ["interface"] or name in self._interfaces:
            self._interfaces.setdefault(name, "")
            if "peer-group" in words[:-1]:
                self._interfaces[name] = words[words.index("peer-group") + 1]
        elif words[:1] == ["shutdown"]:
            self._shut_down.add(ip_address(name))

    def _default(self, word: str, *, active: bool) -> None:
        family = word.replace("-", " ", 1)  # `bgp default ipv6-unicast`
        now = self._bgp.default_families
        self._bgp = replace(self._bgp, default_families=now | {family} if active else now - {family})

    def _group_line(self, name: str, words: list[str]) -> None:
        match words:
            case ["remote-as", number]:
                self._groups[name] = replace(self._groups[name], remote_as=number)
            case ["local-as", number, *_]:
                self._groups[name] = replace(self._groups[name], local_as=number)
            case ["activate"]:
                self._in_family(name, active=True)
            case ["as-override"]:
                self._in_family(name, as_override=True)
            case [command, named, ("in" | "out") as direction] if command in FILTERS:
                filters = self._groups[name].family(self._family or IPV4).filters
                self._in_family(name, filters=filters | {(command, named, direction)})
            case [word, *_] if word in _GROUP_WORDS:
                self._groups[name] = _GROUP_WORDS[word](self._groups[name])

    def _in_family(
        self,
        name: str,
        *,
        active: bool | None = None,
        as_override: bool = False,
        filters: frozenset[tuple[str, str, str]] = frozenset(),
    ) -> None:
        family = self._family or IPV4
        group = self._groups[name]
        before = group.family(family)
        now = GroupFamily(
            active=before.active if active is None else active,
            as_override=before.as_override or as_override,
            filters=before.filters | filters,
        )
        self._groups[name] = replace(group, families={**group.families, family: now})
