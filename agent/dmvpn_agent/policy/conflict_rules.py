"""Denials because of another live peer."""

from dmvpn_agent.addresses import overlap
from dmvpn_agent.policy.check import CommaList
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason


def resource_conflict(peer: Peer, holder: Peer) -> Deny:
    """Return the denial of a peer whose protocol address, or part of whose prefixes, another peer holds."""
    expected = f"one that no other live peer holds: {holder.subject} ({holder.protocol_address}) holds it"
    if holder.protocol_address == peer.protocol_address:
        address = str(peer.protocol_address)
        return Deny(Reason.PROTOCOL_ADDRESS_CONFLICT, "protocol address", address, expected)
    shared = [prefix for prefix in peer.prefixes if any(overlap(prefix, other) for other in holder.prefixes)]
    return Deny(Reason.PREFIX_CONFLICT, "prefixes", str(CommaList(shared)), expected)


def nbma_conflict(peer: Peer, holder: Peer) -> Deny:
    """Return the denial of a peer whose NBMA address another peer has: the kernel would mix up their packets."""
    expected = (
        f"an NBMA address of its own: {holder.subject} ({holder.protocol_address}) has an IKE_SA with this one,"
        " and of two peers behind one NAT address only the first can be served (docs/nat.md)"
    )
    return Deny(Reason.NBMA_ADDRESS_CONFLICT, "NBMA address", str(peer.nbma_address), expected)
