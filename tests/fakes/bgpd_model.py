"""A small model of bgpd's configuration, as vtysh lines change it: what FRR 8.4.4 was seen to do.

- An entry that stands in the list already is taken for done, at whatever seq, without a word.
- A line with an existing seq replaces the entry there; removing goes by seq alone.
- The last entry takes the list with it, unless the list has a description.
- An undefined list denies everything, a defined one without entries permits everything.
- Nothing that a neighbor announced is judged again when a list changes; it is when the neighbor is given a list, and
  at ``clear … soft in``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address


class Refused(Exception):
    """A command that bgpd does not take; the text is its own."""


@dataclass(slots=True)
class ModelList:
    entries: dict[int, str] = field(default_factory=dict)
    description: str | None = None


@dataclass(slots=True)
class ModelNeighbor:
    remote_as: str | None = None
    description: str | None = None
    peer_group: str | None = None
    prefix_list: str | None = None
    other: list[str] = field(default_factory=list)
    #: The announcements that were let in when they were last judged.
    taken: frozenset[IPv4Network] = frozenset()


class BgpdModel:
    """``universe`` are the prefixes that every neighbor announces all the time."""

    def __init__(self, universe: Iterable[IPv4Network] = (), *, requires_policy: bool = True) -> None:
        self.universe = frozenset(universe)
        self.as_number: int | None = 65000
        self.requires_policy = requires_policy
        self.groups = ["spokes", "others"]
        self.neighbors: dict[str, ModelNeighbor] = {}
        self.lists: dict[str, ModelList] = {}
        self._node = "enable"

    def run(self, lines: Iterable[str]) -> None:
        """Take lines as ``vtysh -c`` does: up to the first that is refused. Raises ``Refused``."""
        self._node = "enable"
        for line in lines:
            self.line(line)

    def line(self, line: str) -> None:
        words = line.split()
        match self._node, words:
            case _, ["end"]:
                self._node = "enable"
            case "enable", ["configure", "terminal"]:
                self._node = "config"
            case "enable", ["clear", "bgp", "ipv4", "unicast", address, "soft", "in"]:
                if address not in self.neighbors:
                    raise Refused(f'% BGP: Unknown neighbor - "{address}"')
                self._judge(address)
            case (("config" | "bgp"), ["router", "bgp", number]):
                if int(number) != self.as_number:
                    raise Refused(f"BGP is already running; AS is {self.as_number}")
                self._node = "bgp"
            case (("config" | "bgp"), ["ip", "prefix-list", name, "description", *text]):
                self.lists.setdefault(name, ModelList()).description = " ".join(text)
            case (("config" | "bgp"), ["ip", "prefix-list", name, "seq", seq, *entry]):
                self._add_entry(name, int(seq), " ".join(entry))
            case (("config" | "bgp"), ["no", "ip", "prefix-list", name]):
                self.lists.pop(name, None)
            case (("config" | "bgp"), ["no", "ip", "prefix-list", name, "seq", seq, *_]):
                self._remove_entry(name, int(seq))
            case "bgp", ["address-family", "ipv4", "unicast"]:
                self._node = "af"
            case "af", ["exit-address-family"]:
                self._node = "bgp"
            case "af", ["neighbor", address, "prefix-list", name, "in"]:
                self._existing(address).prefix_list = name
                self._judge(address)
            case "bgp", ["no", "neighbor", address]:
                self.neighbors.pop(address, None)
            case "bgp", ["neighbor", address, *rest]:
                self._neighbor(address, rest)
            case _:
                raise Refused(f"% Unknown command: {line}")

    def _add_entry(self, name: str, seq: int, entry: str) -> None:
        if not 0 < seq < 2**32 or not re.fullmatch(r"(permit|deny) (any|[0-9./]+)( ge \d+)?( le \d+)?", entry):
            raise Refused("% Unknown command: ip prefix-list")
        entries = self.lists.setdefault(name, ModelList()).entries
        if entry not in entries.values():
            entries[seq] = entry

    def _remove_entry(self, name: str, seq: int) -> None:
        if name in self.lists:
            self.lists[name].entries.pop(seq, None)
            if not self.lists[name].entries and self.lists[name].description is None:
                del self.lists[name]

    def _existing(self, address: str) -> ModelNeighbor:
        if address not in self.neighbors:
            raise Refused("% Specify remote-as or peer-group commands first")
        return self.neighbors[address]

    def _neighbor(self, address: str, words: list[str]) -> None:
        match words:
            case ["remote-as", number]:
                self.neighbors.setdefault(address, ModelNeighbor()).remote_as = number
            case ["description", *text]:
                self._existing(address).description = " ".join(text)
            case ["peer-group", group]:
                neighbor = self._existing(address)
                if group not in self.groups:
                    raise Refused("% Configure the peer-group first")
                if neighbor.peer_group not in {None, group}:
                    raise Refused("% Cannot change the peer-group. Deconfigure first")
                neighbor.peer_group = group
            case _:
                self._existing(address).other.append(" ".join(words))
        self._judge(address)

    def _judge(self, address: str) -> None:
        self.neighbors[address].taken = self.permitted(address)

    def permitted(self, address: str) -> frozenset[IPv4Network]:
        """Return what would be let in from a neighbor, were all of it judged now."""
        neighbor = self.neighbors.get(address)
        if neighbor is None or (neighbor.prefix_list is None and self.requires_policy):
            return frozenset()
        if neighbor.prefix_list is None:
            return self.universe
        defined = self.lists.get(neighbor.prefix_list)
        if defined is None:
            return frozenset()
        if not defined.entries:
            return self.universe
        ordered = [defined.entries[seq].split() for seq in sorted(defined.entries)]
        return frozenset(prefix for prefix in self.universe if _verdict(ordered, prefix))

    def empty_lists_in_use(self) -> set[str]:
        """Return the defined lists without entries that a neighbor is filtered by."""
        used = {neighbor.prefix_list for neighbor in self.neighbors.values()}
        return {name for name, defined in self.lists.items() if name in used and not defined.entries}

    def running_config(self) -> str:
        """Return ``show running-config`` in the form of FRR 8.4.4."""
        lines = ["Building configuration...", "", "Current configuration:", "!", "frr version 8.4.4", "!"]
        if self.as_number is not None:
            lines += self._router()
        for name, defined in self.lists.items():
            if defined.description is not None:
                lines.append(f"ip prefix-list {name} description {defined.description}")
            lines += [f"ip prefix-list {name} seq {seq} {entry}" for seq, entry in sorted(defined.entries.items())]
        return "\n".join([*lines, "!", "end", ""])

    def _router(self) -> list[str]:
        lines = [f"router bgp {self.as_number}"]
        lines += [] if self.requires_policy else [" no bgp ebgp-requires-policy"]
        lines += [f" neighbor {group} peer-group" for group in self.groups]
        filters = []
        for address, neighbor in sorted(self.neighbors.items(), key=lambda item: int(ip_address(item[0]))):
            start = f" neighbor {address}"
            lines += [f"{start} remote-as {neighbor.remote_as}"] if neighbor.remote_as else []
            lines += [f"{start} peer-group {neighbor.peer_group}"] if neighbor.peer_group else []
            lines += [f"{start} description {neighbor.description}"] if neighbor.description else []
            lines += [f"{start} {other}" for other in neighbor.other]
            filters += [f" {start} prefix-list {neighbor.prefix_list} in"] if neighbor.prefix_list else []
        if filters:
            lines += [" !", " address-family ipv4 unicast", *filters, " exit-address-family"]
        return [*lines, "exit", "!"]


def _verdict(entries: list[list[str]], prefix: IPv4Network) -> bool:
    for action, text, *limits in entries:
        network = IPv4Network("0.0.0.0/0" if text == "any" else text)
        bounds = {key: int(value) for key, value in zip(limits[::2], limits[1::2], strict=True)}
        if text == "any":
            bounds["le"] = 32
        low = bounds.get("ge", network.prefixlen)
        high = bounds.get("le", 32 if "ge" in bounds else network.prefixlen)
        if prefix.subnet_of(network) and low <= prefix.prefixlen <= high:
            return action == "permit"
    return False
