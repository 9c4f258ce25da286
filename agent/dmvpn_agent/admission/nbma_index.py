"""The peers by NBMA address: the kernel cannot tell two peers at the same one apart.

It picks an SA by the addresses of the GRE packet. Two peers behind one NAT address have the same, so the peer that
came last would receive the packets of both.
"""

from collections.abc import Iterator

from dmvpn_agent.addresses import Address
from dmvpn_agent.policy.peer import Peer

#: A tunnel's far end: by interface too, because each has an address of its own at this end.
_End = tuple[str, Address]


class NbmaIndex:
    """The peers by the far end of their tunnel, those of one end in the order in which they came."""

    def __init__(self) -> None:
        self._ends: dict[Address, _End] = {}
        self._peers: dict[_End, dict[Address, Peer]] = {}

    def add(self, peer: Peer) -> None:
        """Add a peer at its NBMA address; a peer that is there already keeps its place in the order."""
        end = peer.interface, peer.nbma_address
        if self._ends.get(peer.protocol_address, end) != end:
            self.remove(peer.protocol_address)
        self._ends[peer.protocol_address] = end
        self._peers.setdefault(end, {})[peer.protocol_address] = peer

    def remove(self, address: Address) -> None:
        """Remove the peer with this protocol address; it need not be there."""
        end = self._ends.pop(address, None)
        if end is not None:
            del self._peers[end][address]
            if not self._peers[end]:
                del self._peers[end]

    def before(self, peer: Peer) -> Iterator[Peer]:
        """Yield the peers of another identity that came to this one's far end before it."""
        for other in self._peers.get((peer.interface, peer.nbma_address), {}).values():
            if other.protocol_address == peer.protocol_address:
                return
            if other.identity != peer.identity:
                yield other
