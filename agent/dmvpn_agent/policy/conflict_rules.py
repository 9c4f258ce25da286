"""Conflicts with another live peer, which holds the protocol address, a prefix or the NBMA address.

``decide_conflicts`` is the only place that decides by what other peers hold; the judge decides all else.
"""

from collections.abc import Callable
from dataclasses import replace

from dmvpn_agent.addresses import overlap
from dmvpn_agent.policy.check import CommaList
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import OnConflict, Policy

#: Returns the live peers of another identity that are in a peer's way.
Holders = Callable[[Peer], tuple[Peer, ...]]


def no_holders(_: Peer) -> tuple[Peer, ...]:
    """Return no peers, to decide as if there were no others."""
    return ()


def decide_conflicts(accept: Accept, policy: Policy, holders: Holders, at_nbma_address: Holders) -> Decision:
    """Return the accept, with the peers that it replaces, or the denial because of the first conflict.

    ``holders`` returns the peers that hold the protocol address or overlap the prefixes, ``at_nbma_address`` those
    that have the same NBMA address. A host is denied if it conflicts with every protocol address of its peer.
    """
    peers = accept.behind if accept.peer is None else (accept.peer,)
    peer = peers[0]
    held = [holders(one) for one in peers]
    if all(held) and policy.rules[peer.interface][peer.kind].on_conflict is not OnConflict.TAKE_OVER:
        return _resource_conflict(peer, held[0][0])
    if others := at_nbma_address(peer):
        return _nbma_conflict(peer, others[0])
    return accept if accept.peer is None else replace(accept, replaces=held[0])


def _resource_conflict(peer: Peer, holder: Peer) -> Deny:
    expected = f"one that no other live peer holds: {holder.subject} ({holder.protocol_address}) holds it"
    if holder.protocol_address == peer.protocol_address:
        address = str(peer.protocol_address)
        return Deny(Reason.PROTOCOL_ADDRESS_CONFLICT, "protocol address", address, expected)
    shared = [prefix for prefix in peer.prefixes if any(overlap(prefix, other) for other in holder.prefixes)]
    return Deny(Reason.PREFIX_CONFLICT, "prefixes", str(CommaList(shared)), expected)


def _nbma_conflict(peer: Peer, holder: Peer) -> Deny:
    """Return the denial of a second peer at an NBMA address: the kernel would mix up their packets."""
    expected = (
        f"an NBMA address of its own: {holder.subject} ({holder.protocol_address}) has an IKE_SA with this one,"
        " and of two peers behind one NAT address only the first can be served (docs/nat.md)"
    )
    return Deny(Reason.NBMA_ADDRESS_CONFLICT, "NBMA address", str(peer.nbma_address), expected)
