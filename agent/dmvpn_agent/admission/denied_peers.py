"""The peers that were accepted, and are denied now.

The rules of ``policy.groups`` go on to hold for their addresses: a denied peer may be connected for a while, and the
default for packets of nobody's addresses may be to accept them.
"""

from collections.abc import Iterator
from dataclasses import replace

from dmvpn_agent.addresses import Address, overlap
from dmvpn_agent.admission.prefix_index import PrefixIndex
from dmvpn_agent.policy.peer import Peer

#: Beyond this the oldest denial is forgotten.
REMEMBERED = 1000


class DeniedPeers:
    """They are in quarantine, with the addresses that they had, as far as no accepted peer has these now."""

    def __init__(self) -> None:
        self._peers = PrefixIndex()

    def __iter__(self) -> Iterator[Peer]:
        return (peer.in_quarantine() for peer in self._peers)

    def __contains__(self, address: Address) -> bool:
        return self._peers.get(address) is not None

    def add(self, peer: Peer) -> None:
        """Add a peer as it was accepted, in place of the one that had its protocol address.

        It shares nothing with its site any more.
        """
        self._peers.add(replace(peer, prefixes=(*peer.prefixes, *peer.suspended), suspended=(), site=""))
        if len(self._peers) > REMEMBERED:
            self._peers.remove(next(iter(self._peers)).protocol_address)

    def regroup(self, peer: Peer) -> bool:
        """Give a peer the groups that it has by another policy; return whether that changes anything."""
        known = self._peers.get(peer.protocol_address)
        if known is None or known.identity != peer.identity or known.groups == peer.groups:
            return False
        self._peers.add(replace(known, groups=peer.groups))
        return True

    def yield_to(self, accepted: Peer) -> None:
        """Forget the addresses that an accepted peer has now."""
        self._peers.remove(accepted.protocol_address)
        for peer in self._peers.conflicting(accepted):
            kept = (one for one in peer.prefixes if not any(overlap(one, other) for other in accepted.prefixes))
            self._peers.add(replace(peer, prefixes=tuple(kept)))
