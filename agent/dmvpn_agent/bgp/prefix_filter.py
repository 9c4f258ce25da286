"""A peer's inbound prefix filter: what it may announce, as prefix-list entries.

In a prefix-list the first match decides (FRR's user guide, "IP Prefix List"). All denials come before all
permissions, so what is withheld from a peer stays withheld, whatever else it may announce.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from dmvpn_agent.addresses import Network, covers
from dmvpn_agent.policy.peer import Peer


@dataclass(frozen=True, slots=True)
class Entry:
    """A prefix-list entry: ``prefix`` and optionally the shortest and longest prefix length inside it.

    ``str()`` gives FRR's syntax.
    """

    permit: bool
    prefix: Network
    ge: int | None = None
    le: int | None = None

    def __str__(self) -> str:
        action = "permit" if self.permit else "deny"
        if self.prefix.prefixlen == 0 and self.le == self.prefix.max_prefixlen and self.ge is None:
            return f"{action} any"
        shortest = f" ge {self.ge}" if self.ge is not None else ""
        longest = f" le {self.le}" if self.le is not None else ""
        return f"{action} {self.prefix}{shortest}{longest}"


def filter_entries(peer: Peer, version: int) -> frozenset[Entry]:
    """Return a peer's prefix-list of one IP version, without ``deny any``; its denials must come first.

    A network in ``peer.withheld`` denies every prefix that overlaps it: the network, its subnets and its supernets.
    The default route overlaps everything: it is permitted only with ``peer.default_route``.
    """
    withheld = tuple(network for network in peer.withheld if network.version == version)
    entries = _cached_entries if withheld else _entries  # only hubs have withheld networks, and all have the same
    return entries(peer.announces, withheld, peer.default_route, version)


def _entries(
    announces: tuple[tuple[Network, int], ...], withheld: tuple[Network, ...], default_route: bool, version: int
) -> frozenset[Entry]:
    withheld = _without_subnets(withheld)
    entries: set[Entry] = set()
    for network, longest in announces:
        shortest = network.prefixlen or (0 if default_route else 1)
        if network.version != version or shortest > longest or any(covers(one, network) for one in withheld):
            continue
        entries.add(_permit(network, shortest, longest))
        for one in withheld:
            if covers(network, one):
                entries.update(_denials(one, network, longest))
    return frozenset(entries)


_cached_entries = lru_cache(maxsize=16)(_entries)


def _without_subnets(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the networks that are not subnets of others among them."""
    found: list[Network] = []
    # In this order a network follows its supernet, or other subnets of that.
    for network in sorted(networks, key=lambda network: (int(network.network_address), network.prefixlen)):
        if not found or not covers(found[-1], network):
            found.append(network)
    return tuple(found)


def _permit(network: Network, shortest: int, longest: int) -> Entry:
    # FRR refuses `ge` and `le` that are not longer than the prefix itself.
    return Entry(
        permit=True,
        prefix=network,
        ge=shortest if shortest > network.prefixlen else None,
        le=longest if longest > network.prefixlen else None,
    )


def _denials(withheld: Network, permitted: Network, longest: int) -> Iterator[Entry]:
    """Yield denials of all permitted prefixes that overlap a withheld network, except the default route."""
    last = min(longest, withheld.prefixlen - 1)
    for length in range(max(permitted.prefixlen, 1), last + 1):
        yield Entry(permit=False, prefix=withheld.supernet(new_prefix=length))
    if withheld.prefixlen <= longest:
        inside = withheld.prefixlen < withheld.max_prefixlen
        yield Entry(permit=False, prefix=withheld, le=withheld.max_prefixlen if inside else None)
