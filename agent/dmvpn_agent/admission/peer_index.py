"""The accepted peers in memory: by protocol address, by prefix, and by NBMA address."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.nbma_index import NbmaIndex
from dmvpn_agent.admission.prefix_index import PrefixIndex
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.request import BindingRequest, BindingType, is_requester

#: A peer that was not in nhrpd's cache for this long does not keep other peers from its address and prefixes. Of a
#: peer's protocol addresses, one that is bound has the neighbor then.
GRACE = timedelta(seconds=60)


@dataclass(slots=True)
class Membership:
    """An accepted peer with its request.

    ``absent_since``: when (``clocks.uptime``) a read of nhrpd's cache first did not find it; ``None`` while bound.
    ``accepted_until``: until when the clock alone cannot change the decision; ``None`` if that was not computed.
    """

    request: BindingRequest
    peer: Peer
    absent_since: timedelta | None
    accepted_until: datetime | None = None


class PeerIndex:
    """The memberships, one for each protocol address. ``now`` is that of ``clocks.uptime`` everywhere.

    A peer is live while nhrpd has it bound, and for ``GRACE`` after that. ``version`` grows whenever a membership
    comes, goes or is replaced, or nhrpd binds or drops it.
    """

    def __init__(self) -> None:
        self.version = 0
        self._members: dict[Address, Membership] = {}
        self._prefixes = PrefixIndex()
        self._nbma_addresses = NbmaIndex()

    def __iter__(self) -> Iterator[Peer]:
        return (member.peer for member in self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, address: Address) -> bool:
        return address in self._members

    def member(self, address: Address) -> Membership | None:
        """Return the membership of a protocol address."""
        return self._members.get(address)

    def memberships(self) -> tuple[Membership, ...]:
        """Return all memberships as they are now."""
        return tuple(self._members.values())

    def live(self, now: timedelta) -> tuple[Membership, ...]:
        """Return the memberships of the live peers."""
        return tuple(member for member in self._members.values() if self._is_live(member.peer, now))

    def absent(self, now: timedelta) -> frozenset[Address]:
        """Return the protocol addresses of the peers that are not live."""
        return frozenset(peer.protocol_address for peer in self if not self._is_live(peer, now))

    def conflicting(self, peer: Peer, now: timedelta) -> tuple[Peer, ...]:
        """Return the live peers of another identity that hold this peer's address or overlap its prefixes."""
        return tuple(other for other in self._prefixes.conflicting(peer) if self._is_live(other, now))

    def gained_conflicts(self, peer: Peer, now: timedelta) -> tuple[Peer, ...]:
        """Return the live peers of another identity that overlap what this peer did not hold before."""
        member = self._members.get(peer.protocol_address)
        if member is None:
            return ()
        # Prefixes that it shared with its site conflict once the policy or its certificate no longer shares them.
        held = member.peer.prefixes if peer.site or not member.peer.site else ()
        gained = tuple(prefix for prefix in peer.prefixes if prefix not in held)
        return self.conflicting(replace(peer, prefixes=gained), now) if gained else ()

    def earlier_at_nbma_address(self, peer: Peer, present: Collection[IkePeer], now: timedelta) -> tuple[Peer, ...]:
        """Return the live peers of another identity that were at this peer's NBMA address before it.

        ``present``: the peers that have an IKE_SA with that address now; one that has none has left.
        """
        if not present:
            return ()
        return tuple(
            other
            for other in self._nbma_addresses.before(peer)
            if self._is_live(other, now)
            and any(is_requester(self._members[other.protocol_address].request, ike_peer) for ike_peer in present)
        )

    def has_registered(self, interface: str, nbma_address: Address) -> bool:
        """Tell whether a peer at an NBMA address is bound because it has registered with this node, a hub."""
        return any(
            member.absent_since is None
            for member in self._members.values()
            if (member.request.interface, member.request.nbma_address) == (interface, nbma_address)
            and member.request.binding_type is BindingType.DYNAMIC
        )

    def _is_live(self, peer: Peer, now: timedelta) -> bool:
        absent_since = self._members[peer.protocol_address].absent_since
        return absent_since is None or now - absent_since <= GRACE

    def _insert(self, member: Membership) -> None:
        self.version += 1
        self._members[member.peer.protocol_address] = member
        self._prefixes.add(member.peer)
        self._nbma_addresses.add(member.peer)

    def _delete(self, address: Address) -> None:
        self.version += 1
        self._members.pop(address, None)
        self._prefixes.remove(address)
        self._nbma_addresses.remove(address)
