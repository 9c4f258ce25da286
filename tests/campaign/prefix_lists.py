"""FRR's prefix-lists, evaluated as bgpd does: by number, the first match counts, what matches nothing is denied.

A list that does not exist denies everything; one without entries permits everything (FRR, ``lib/plist.c``).
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Entry:
    """One entry; ``ge`` and ``le`` are the lengths that match."""

    seq: int
    permit: bool
    network: Network
    ge: int
    le: int

    def matches(self, prefix: Network) -> bool:
        """Tell whether a prefix lies in the network and has a length that matches."""
        return (
            prefix.version == self.network.version
            and self.ge <= prefix.prefixlen <= self.le
            and prefix.prefixlen >= self.network.prefixlen
            and int(prefix.network_address) >> (prefix.max_prefixlen - self.network.prefixlen)
            == int(self.network.network_address) >> (prefix.max_prefixlen - self.network.prefixlen)
        )


class PrefixLists:
    """What ``ip prefix-list`` and ``ipv6 prefix-list`` lines define."""

    def __init__(self, lines: list[str]) -> None:
        self._lists: dict[tuple[int, str], list[Entry]] = {}
        for line in lines:
            words = line.split()
            if words[:2] in (["ip", "prefix-list"], ["ipv6", "prefix-list"]):
                self._add(6 if words[0] == "ipv6" else 4, words[2], words[3:])

    def _add(self, version: int, name: str, words: list[str]) -> None:
        entries = self._lists.setdefault((version, name), [])
        if words[0] == "description":
            return
        if words[0] != "seq" or words[2] not in ("permit", "deny"):
            raise ValueError(f"not an entry of a prefix-list: {words}")
        everything = "::/0" if version == 6 else "0.0.0.0/0"
        whole = 128 if version == 6 else 32
        network = ip_network(everything if words[3] == "any" else words[3])
        limits = dict(zip(words[4::2], map(int, words[5::2]), strict=True))
        ge = limits.get("ge", network.prefixlen)
        le = limits.get("le", whole if "ge" in limits or words[3] == "any" else network.prefixlen)
        entries.append(Entry(int(words[1]), words[2] == "permit", network, ge, le))
        entries.sort(key=lambda entry: entry.seq)

    def names(self) -> set[str]:
        """Return the names of all lists."""
        return {name for _, name in self._lists}

    def text(self, name: str) -> str:
        """Return the entries of a list, to be compared."""
        return str([entries for (_, known), entries in self._lists.items() if known == name])

    def permits(self, name: str, prefix: Network) -> bool:
        """Tell whether a neighbor with this list may announce a prefix."""
        entries = self._lists.get((prefix.version, name))
        if entries is None:
            return False
        if not entries:
            return True
        return next((entry.permit for entry in entries if entry.matches(prefix)), False)
