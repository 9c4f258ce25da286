"""A small model of bgpd's configuration, as vtysh lines change it; the rules were observed on FRR 8.4.4.

- An entry that the list has already is silently ignored, at any seq.
- A line with an existing seq replaces the entry there; removing uses the seq alone.
- Removing the last entry removes the list, unless the list has a description.
- An undefined list denies everything; a defined one without entries permits everything.
- A changed list applies to a neighbor's routes only when it is assigned to the neighbor, and at ``clear … soft in``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from dmvpn_agent.addresses import Network, covers


class Refused(Exception):
    """bgpd refuses a command; the text is its message."""


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
    prefix_list_ipv6: str | None = None
    activates_ipv6: bool = False
    #: By address family: what was typed after ``maximum-prefix``, and after ``weight``.
    maximum_prefix: dict[str, str] = field(default_factory=dict)
    weight: dict[str, str] = field(default_factory=dict)
    other: list[str] = field(default_factory=list)
    #: The routes that its filters accepted when they were last applied.
    accepted: frozenset[Network] = frozenset()


class BgpdModel:
    """``universe``: the prefixes that every neighbor announces all the time."""

    def __init__(self, universe: Iterable[Network] = (), *, requires_policy: bool = True) -> None:
        self.universe = frozenset(universe)
        self.as_number: int | None = 65000
        self.requires_policy = requires_policy
        self.groups = ["spokes", "others", "hubs", "internal"]
        self.neighbors: dict[str, ModelNeighbor] = {}
        self.lists: dict[str, ModelList] = {}
        self._node = "enable"

    def run(self, lines: Iterable[str]) -> None:
        """Run lines as ``vtysh -c`` does, up to the first refused one. Raises ``Refused``."""
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
            case "enable", ["clear", "bgp", ("ipv4" | "ipv6"), "unicast", address, "soft", "in"]:
                if address not in self.neighbors:
                    raise Refused(f'% BGP: Unknown neighbor - "{address}"')
                self._apply_filters(address)
            case "config", ["XFRR_start_configuration" | "XFRR_end_configuration"]:
                pass  # a transaction that is cut off is applied as far as it came
            case (("config" | "bgp"), ["router", "bgp", number]):
                if int(number) != self.as_number:
                    raise Refused(f"BGP is already running; AS is {self.as_number}")
                self._node = "bgp"
            case (("config" | "bgp"), [("ip" | "ipv6") as family, "prefix-list", name, "description", *text]):
                self._list(family, name).description = " ".join(text)
            case (("config" | "bgp"), [("ip" | "ipv6") as family, "prefix-list", name, "seq", seq, *entry]):
                self._add_entry(self._list(family, name), int(seq), " ".join(entry))
            case (("config" | "bgp"), ["no", ("ip" | "ipv6") as family, "prefix-list", name]):
                self._list(family, name)
                self.lists.pop(name, None)
            case (("config" | "bgp"), ["no", ("ip" | "ipv6") as family, "prefix-list", name, "seq", seq, *_]):
                self._list(family, name)
                self._remove_entry(name, int(seq))
            case "bgp", ["address-family", ("ipv4" | "ipv6") as family, "unicast"]:
                self._node = family
            case (("ipv4" | "ipv6"), ["exit-address-family"]):
                self._node = "bgp"
            case "ipv4", ["neighbor", address, "prefix-list", name, "in"]:
                self._existing(address).prefix_list = name
                self._apply_filters(address)
            case "ipv6", ["neighbor", address, "prefix-list", name, "in"]:
                self._existing(address).prefix_list_ipv6 = name
                self._apply_filters(address)
            case "ipv6", ["no", "neighbor", address, "prefix-list", name, "in"]:
                self._existing(address).prefix_list_ipv6 = None
                self._apply_filters(address)
            case "ipv6", [*no, "neighbor", address, "activate"]:
                self._existing(address).activates_ipv6 = not no
                self._apply_filters(address)
            case (("ipv4" | "ipv6") as family, ["neighbor", address, "maximum-prefix", *limit]):
                self._existing(address).maximum_prefix[family] = " ".join(limit)
            case (("ipv4" | "ipv6") as family, ["no", "neighbor", address, "maximum-prefix"]):
                self._existing(address).maximum_prefix.pop(family, None)
            case (("ipv4" | "ipv6") as family, ["neighbor", address, "weight", weight]):
                self._existing(address).weight[family] = weight
            case (("ipv4" | "ipv6") as family, ["no", "neighbor", address, "weight"]):
                self._existing(address).weight.pop(family, None)
            case "bgp", ["no", "neighbor", address]:
                self.neighbors.pop(address, None)
            case "bgp", ["neighbor", address, *rest]:
                self._neighbor(address, rest)
            case _:
                raise Refused(f"% Unknown command: {line}")

    def _list(self, family: str, name: str) -> ModelList:
        """Return a list, creating it; in the model a name belongs to one family."""
        if (family == "ipv6") is not name.endswith("-in6"):
            raise Refused(f"the model has no {family} list {name}")
        return self.lists.setdefault(name, ModelList())

    def _add_entry(self, defined: ModelList, seq: int, entry: str) -> None:
        if not 0 < seq < 2**32 or not re.fullmatch(r"(permit|deny) (any|[0-9a-f:./]+)( ge \d+)?( le \d+)?", entry):
            raise Refused("% Unknown command: ip prefix-list")
        if entry not in defined.entries.values():
            defined.entries[seq] = entry

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
                if neighbor.peer_group is None:
                    neighbor.activates_ipv6 = False  # like the group; filters stay
                neighbor.peer_group = group
            case _:
                self._existing(address).other.append(" ".join(words))
        self._apply_filters(address)

    def _apply_filters(self, address: str) -> None:
        self.neighbors[address].accepted = self.permitted(address)

    def permitted(self, address: str) -> frozenset[Network]:
        """Return the routes that a neighbor's filters accept now."""
        neighbor = self.neighbors.get(address)
        if neighbor is None:
            return frozenset()
        if neighbor.remote_as == str(self.as_number):
            # No policy is required of iBGP; with `no bgp default ipv4-unicast` its group activates it.
            needs_list, active = False, neighbor.peer_group is not None
        else:
            needs_list, active = self.requires_policy, True
        allowed = self._permitted(4, neighbor.prefix_list, needs_list) if active else frozenset()
        if neighbor.activates_ipv6:
            allowed |= self._permitted(6, neighbor.prefix_list_ipv6, needs_list)
        return allowed

    def _permitted(self, version: int, name: str | None, needs_list: bool) -> frozenset[Network]:
        universe = frozenset(prefix for prefix in self.universe if prefix.version == version)
        if name is None:
            return frozenset() if needs_list else universe
        defined = self.lists.get(name)
        if defined is None:
            return frozenset()
        if not defined.entries:
            return universe
        ordered = [defined.entries[seq].split() for seq in sorted(defined.entries)]
        return frozenset(prefix for prefix in universe if _verdict(ordered, prefix))

    def empty_lists_in_use(self) -> set[str]:
        """Return the defined lists without entries that a neighbor is filtered by."""
        neighbors = self.neighbors.values()
        used = {name for one in neighbors for name in (one.prefix_list, one.prefix_list_ipv6)}
        return {name for name, defined in self.lists.items() if name in used and not defined.entries}

    def running_config(self) -> str:
        """Return ``show running-config`` in the form of FRR 8.4.4."""
        lines = ["Building configuration...", "", "Current configuration:", "!", "frr version 8.4.4", "!"]
        if self.as_number is not None:
            lines += self._router()
        for name, defined in self.lists.items():
            start = f"{'ipv6' if name.endswith('-in6') else 'ip'} prefix-list {name}"
            if defined.description is not None:
                lines.append(f"{start} description {defined.description}")
            lines += [f"{start} seq {seq} {entry}" for seq, entry in sorted(defined.entries.items())]
        return "\n".join([*lines, "!", "end", ""])

    def _router(self) -> list[str]:
        lines = [f"router bgp {self.as_number}"]
        lines += [] if self.requires_policy else [" no bgp ebgp-requires-policy"]
        lines += [" no bgp default ipv4-unicast"]
        for group in self.groups:
            lines += [f" neighbor {group} peer-group", f" neighbor {group} disable-connected-check"]
        filters = [f"  neighbor {group} activate" for group in self.groups]
        filters_ipv6: list[str] = []
        for address, neighbor in sorted(self.neighbors.items(), key=lambda item: int(ip_address(item[0]))):
            start = f" neighbor {address}"
            lines += [f"{start} remote-as {neighbor.remote_as}"] if neighbor.remote_as else []
            lines += [f"{start} peer-group {neighbor.peer_group}"] if neighbor.peer_group else []
            lines += [f"{start} description {neighbor.description}"] if neighbor.description else []
            lines += [f"{start} {other}" for other in neighbor.other]
            filters += [f" {start} prefix-list {neighbor.prefix_list} in"] if neighbor.prefix_list else []
            filters_ipv6 += [f" {start} activate"] if neighbor.activates_ipv6 else []
            filters_ipv6 += [f" {start} prefix-list {name} in"] if (name := neighbor.prefix_list_ipv6) else []
            for family, inside in (("ipv4", filters), ("ipv6", filters_ipv6)):
                limit, weight = neighbor.maximum_prefix.get(family), neighbor.weight.get(family)
                inside.extend([f" {start} maximum-prefix {limit}"] if limit else [])
                inside.extend([f" {start} weight {weight}"] if weight else [])
        for family, inside in (("ipv4", filters), ("ipv6", filters_ipv6)):
            if inside:
                lines += [" !", f" address-family {family} unicast", *inside, " exit-address-family"]
        return [*lines, "exit", "!"]


def _verdict(entries: list[list[str]], prefix: Network) -> bool:
    longest = prefix.max_prefixlen
    for action, text, *limits in entries:
        network = ip_network(("0.0.0.0/0" if longest == 32 else "::/0") if text == "any" else text)
        bounds = {key: int(value) for key, value in zip(limits[::2], limits[1::2], strict=True)}
        if text == "any":
            bounds["le"] = longest
        low = bounds.get("ge", network.prefixlen)
        high = bounds.get("le", longest if "ge" in bounds else network.prefixlen)
        if covers(network, prefix) and low <= prefix.prefixlen <= high:
            return action == "permit"
    return False
