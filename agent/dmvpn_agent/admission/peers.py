"""The accepted peers: who is accepted, whether nhrpd has them bound, and what survives a restart.

The store keeps each peer's request with its certificate, not the decision. After a restart, and whenever something
changes that decisions depend on, every peer is judged again. The request of a peer that fails stays stored until its
certificate expires, because the cause of the denial may end.

Peers of different identity never hold overlapping prefixes at the same time, except those of one site
(``OnConflict.SHARE``). Of stored peers that conflict, the one saved last is accepted at once; an earlier one replaces
it only if nhrpd has the earlier one bound and none that it conflicts with.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import IP_VERSIONS, Address
from dmvpn_agent.admission.denied_peers import DeniedPeers
from dmvpn_agent.admission.peer_index import Membership, PeerIndex
from dmvpn_agent.admission.prefix_index import PrefixIndex
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import CONFLICTS, Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

Decide = Callable[[BindingRequest], Decision]

_NO_PEER = Deny(Reason.INTERNAL_ERROR, "peer", "none", "a peer")
#: A denial for one of these reasons says nothing about the peer that the address belongs to.
_ABOUT_OTHERS = CONFLICTS | {Reason.CERTIFICATE_UNCONFIRMED, Reason.CERTIFICATE_AWAITED, Reason.INTERNAL_ERROR}


class PeerStore(Protocol):
    """Keeps binding requests across restarts, one for each protocol address."""

    def load(self) -> Iterable[BindingRequest]:
        """Return the saved requests, the latest at the end; an unreadable row is skipped."""

    def save(self, request: BindingRequest) -> None:
        """Save a request in place of the address's earlier one."""

    def remove(self, address: Address) -> None:
        """Remove an address; it need not be there."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """A peer that was accepted, or stored as accepted, and is denied now."""

    request: BindingRequest
    why: Deny

    @property
    def subject(self) -> str:
        """Return its certificate's subject, or its IKE identity if it has no certificate."""
        if isinstance(self.request.certificate, Certificate):
            return self.request.certificate.subject
        return ", ".join(sorted(ike_peer.identity for ike_peer in self.request.ike_peers or ()))


class Peers(PeerIndex):
    """The accepted peers, kept in the store. ``denied``: those that are denied now."""

    def __init__(self, store: PeerStore) -> None:
        super().__init__()
        self._store = store
        self.denied = DeniedPeers()
        self._stored_conflicts: dict[Address, Membership] = {}
        self._judged: set[Address] = set()

    def was_judged(self, address: Address) -> bool:
        """Tell whether the peer that this protocol address belongs to was judged since the start."""
        return address in self._judged

    def mark_judged(self, address: Address) -> None:
        """Note that the peer that this protocol address belongs to was judged."""
        self._judged.add(address)

    def load(
        self,
        decide: Decide,
        now: timedelta,
        authorized_peer: Callable[[BindingRequest], Peer | None] = lambda _: None,
    ) -> tuple[Revoked, ...]:
        """Accept the stored peers that ``decide`` accepts; return the others.

        ``authorized_peer``: as ``Judge.authorized_peer``, for the others.
        """
        denied, accepted = [], []
        for request in self._store.load():
            decision = decide(request)
            if isinstance(decision, Accept) and decision.peer is not None:
                accepted.append(Membership(request.kept, decision.peer, now))
            else:
                why = decision if isinstance(decision, Deny) else _NO_PEER
                denied.append(Revoked(request, why))
                if peer := authorized_peer(request):
                    self.denied.add(peer)
                self._deny(request.protocol_address, why)
        latest = _without_conflicts(accepted)
        self._stored_conflicts = {
            member.peer.protocol_address: member for member in accepted if member.peer.protocol_address not in latest
        }
        for member in accepted:
            if member.peer.protocol_address in latest:
                self._accept(member)
        return tuple(denied)

    def resolve_stored_conflicts(self, bound: frozenset[Address], now: timedelta) -> bool:
        """Decide, by what nhrpd has bound, which of the stored peers that conflict stay; return whether any did."""
        conflicts, self._stored_conflicts = self._stored_conflicts, {}
        for address, member in reversed(conflicts.items()):
            holders = self._prefixes.conflicting(member.peer)
            if address in bound and not any(holder.protocol_address in bound for holder in holders):
                for holder in holders:
                    self._remove(holder.protocol_address, f"nhrpd has {member.peer.subject} bound instead")
                self._accept(replace(member, absent_since=now))
            else:
                names = ", ".join(holder.subject for holder in holders) or "another peer"
                self._remove(address, f"replaced by {names} before the restart")
        return bool(conflicts)

    def apply_decision(self, request: BindingRequest, decision: Decision, now: timedelta) -> bool:
        """Apply a decision on nhrpd's request; return whether that changed who is accepted, or as what."""
        if isinstance(decision, Deny):
            return self._apply_denial(request, decision)
        return decision.peer is not None and self._apply_accept(request, decision, decision.peer, now)

    def _apply_accept(self, request: BindingRequest, accept: Accept, peer: Peer, now: timedelta) -> bool:
        member = self._members.get(request.protocol_address)
        self._replace(accept, peer)
        for other in self._prefixes.conflicting(peer):
            if not self._is_live(other, now):
                self._remove(other.protocol_address, f"gone, and replaced by {peer.subject}")
        # Absent for now: nhrpd makes the binding only after it has the answer.
        kept = request.kept
        self._accept(Membership(kept, peer, now))
        if member is None or member.request != request:
            self._store.save(kept)
        return bool(accept.replaces) or member is None or member.peer != peer

    def _apply_denial(self, request: BindingRequest, why: Deny) -> bool:
        """Apply a denial; return whether it concerned the peer that the protocol address belongs to.

        It takes back an earlier accept of the same certificate on the same interface, or of the same IKE identities
        if there is no certificate. Any other peer that asks for the address leaves the accepted one in place.
        """
        address = request.protocol_address
        member = self._members.get(address)
        if member is not None:
            if _identity(member.request) != _identity(request):
                return False
            self._deny(address, why)
            return True
        if address in self._judged or not _belongs_to(request, why):
            return False
        self._judged.add(address)
        return True

    def rejudge(
        self,
        member: Membership,
        decide: Decide,
        with_current_certificate: Callable[[BindingRequest], BindingRequest] = lambda request: request,
    ) -> bool | Revoked:
        """Judge a peer again; return whether it changed, or ``Revoked`` if it is denied now.

        A membership that was replaced, or has left, since ``memberships`` returned it, is passed over.
        """
        if self._members.get(member.peer.protocol_address) is not member:
            return False
        request = with_current_certificate(member.request)
        kept = request.kept
        if request.certificate != member.request.certificate:
            self._store.save(kept)  # even if it is denied: a restart must not accept the earlier certificate
        decision = decide(request)
        if isinstance(decision, Accept) and decision.peer is not None:
            self._replace(decision, decision.peer)
            if decision.peer != member.peer:
                self._accept(Membership(kept, decision.peer, member.absent_since))
            return bool(decision.replaces) or decision.peer != member.peer
        why = decision if isinstance(decision, Deny) else _NO_PEER
        self._deny(member.peer.protocol_address, why)
        return Revoked(request, why)

    def update_bound(self, bound: frozenset[Address], now: timedelta) -> None:
        """Note which protocol addresses nhrpd has bound."""
        for address, member in self._members.items():
            if (address in bound) is not (member.absent_since is None):
                member.absent_since = None if address in bound else now
                self.version += 1

    def remove_absent(
        self, linger: timedelta, now: timedelta, versions: Collection[int] = IP_VERSIONS
    ) -> tuple[Peer, ...]:
        """Remove and return the peers that have been absent for longer than ``linger``.

        ``versions``: the IP versions of protocol addresses to which this applies.
        """
        gone = tuple(
            member.peer
            for member in self.memberships()
            if member.absent_since is not None
            and now - member.absent_since > linger
            and member.peer.protocol_address.version in versions
        )
        for peer in gone:
            self._remove(peer.protocol_address, f"not in nhrpd's cache for {linger.total_seconds():.0f} s")
        return gone

    def _replace(self, accept: Accept, peer: Peer) -> None:
        for other in accept.replaces:
            self._add_denied(other)
            self._remove(other.protocol_address, f"taken over by {peer.subject}")

    def _accept(self, member: Membership) -> None:
        self._judged.add(member.peer.protocol_address)
        self._stored_conflicts.pop(member.peer.protocol_address, None)
        self.denied.yield_to(member.peer)
        self._insert(member)

    def _deny(self, address: Address, why: Deny) -> None:
        """Remove a peer that is denied now. Its request stays stored, unless its certificate expired."""
        self._judged.add(address)
        if member := self._members.get(address):
            self._add_denied(member.peer)
        self._delete(address)
        if why.reason is Reason.CERTIFICATE_EXPIRED:
            self._store.remove(address)
        log.info("peer_denied_now", protocol_address=str(address), why=str(why))

    def _add_denied(self, peer: Peer) -> None:
        """Note a peer that is denied now, without what others have too, as those of its site."""
        self.denied.add(peer)
        for other in self._prefixes.conflicting(replace(peer, site="")):
            self.denied.yield_to(other)

    def _remove(self, address: Address, why: str) -> None:
        self._judged.add(address)
        self._delete(address)
        self._store.remove(address)
        log.info("peer_forgotten", protocol_address=str(address), why=why)


def _without_conflicts(members: Iterable[Membership]) -> frozenset[Address]:
    """Return the addresses of those that conflict with none that was saved after them."""
    latest = PrefixIndex()
    for member in reversed(tuple(members)):
        if not latest.conflicting(member.peer):
            latest.add(member.peer)
    return frozenset(peer.protocol_address for peer in latest)


def _identity(request: BindingRequest) -> tuple[object, str]:
    """Return the certificate, or without one the IKE identities, and the interface."""
    return (request.ike_peers if request.certificate is None else request.certificate), request.interface


def _belongs_to(request: BindingRequest, why: Deny) -> bool:
    """Tell whether a denied request is by the peer that the address belongs to: its certificate names the address."""
    certificate = request.certificate
    if not isinstance(certificate, Certificate) or why.reason in _ABOUT_OTHERS:
        return False
    named = (claim.value for source in certificate.resources.values() for claim in source.protocol_addresses)
    return request.protocol_address in named
