"""The peers by protocol address and prefixes: finds overlaps without comparing a peer with all others.

A held prefix overlaps another one if it contains it (a lookup for each prefix length in use), or if it begins inside
it (a range in the order of first addresses).
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.policy.peer import Peer


class PrefixIndex:
    """The peers by protocol address, and by their prefixes."""

    def __init__(self) -> None:
        self._peers: dict[Address, Peer] = {}
        self._holders: dict[Network, tuple[Address, ...]] = {}
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}
        self._starts: dict[int, list[tuple[int, int]]] = {4: [], 6: []}

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, address: Address) -> Peer | None:
        """Return the peer with this address."""
        return self._peers.get(address)

    def add(self, peer: Peer) -> None:
        """Add a peer with its prefixes, in place of the peer that had its address."""
        self.remove(peer.protocol_address)
        self._peers[peer.protocol_address] = peer
        for prefix in peer.prefixes:
            if prefix not in self._holders:
                self._lengths[prefix.version][prefix.prefixlen] += 1
                insort(self._starts[prefix.version], _key(prefix))
            self._holders[prefix] = (*self._holders.get(prefix, ()), peer.protocol_address)

    def remove(self, address: Address) -> None:
        """Remove the peer with this address; it need not be there."""
        peer = self._peers.pop(address, None)
        for prefix in peer.prefixes if peer else ():
            self._holders[prefix] = tuple(other for other in self._holders[prefix] if other != address)
            if not self._holders[prefix]:
                del self._holders[prefix]
                lengths, starts = self._lengths[prefix.version], self._starts[prefix.version]
                lengths[prefix.prefixlen] -= 1
                lengths += Counter()  # drops the lengths that are not in use any more
                del starts[bisect_left(starts, _key(prefix))]

    def conflicting(self, peer: Peer) -> tuple[Peer, ...]:
        """Return the peers of another identity that hold the peer's address, or overlap its prefixes.

        Peers of one site hold the same prefixes together, but no protocol address.
        """
        found: dict[Address, Peer] = {}
        holder = self._peers.get(peer.protocol_address)
        if holder is not None:
            found[holder.protocol_address] = holder
        for prefix in peer.prefixes:
            for held in self._overlapping(prefix):
                found |= {address: self._peers[address] for address in sorted(self._holders[held], key=str)}
        return tuple(other for other in found.values() if other.identity != peer.identity and not _share(other, peer))

    def _overlapping(self, prefix: Network) -> Iterator[Network]:
        for length in self._lengths[prefix.version]:
            if length < prefix.prefixlen and (above := prefix.supernet(new_prefix=length)) in self._holders:
                yield above
        yield from self._inside(prefix)

    def _inside(self, prefix: Network) -> Iterable[Network]:
        starts = self._starts[prefix.version]
        first = int(prefix.network_address)
        last = first | ((1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1)
        low = bisect_left(starts, (first, prefix.prefixlen))
        high = bisect_right(starts, (last, prefix.max_prefixlen))
        network = type(prefix)
        return (network((start, length)) for start, length in starts[low:high])


def _share(one: Peer, other: Peer) -> bool:
    return one.site != "" and one.site == other.site and one.protocol_address != other.protocol_address


def _key(prefix: Network) -> tuple[int, int]:
    return int(prefix.network_address), prefix.prefixlen
