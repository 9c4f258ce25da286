"""Who is accepted: the peers, whether nhrpd still has them bound, and what survives a restart.

What is stored is the question with its certificate, not the answer: after a restart, and whenever something changed
that decisions rest on, every peer is judged again. The question of one that fails stays in the store while its
certificate lasts, because what denies it may end.

Peers of different identity never hold overlapping prefixes at the same time, except those of one site
(``OnConflict.SHARE``). Of stored peers that would, the one that
was saved last comes back at once; an earlier one only if nhrpd has it bound, and none of those it conflicts with.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import IP_VERSIONS, Address
from dmvpn_agent.admission.nbma_index import NbmaIndex
from dmvpn_agent.admission.prefix_index import PrefixIndex
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import CONFLICTS, Reason
from dmvpn_agent.policy.request import BindingRequest, is_requester
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

#: A peer that nhrpd did not have bound for this long does not keep others from its address and prefixes. Of a peer's
#: protocol addresses, one that is bound has the neighbor then.
GRACE = timedelta(seconds=60)

Judge = Callable[[BindingRequest], Decision]


class PeerStore(Protocol):
    """Keeps binding requests across restarts, one a protocol address."""

    def load(self) -> Iterable[BindingRequest]:
        """Return all that was saved, the latest at the end; an unreadable row is skipped."""

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one."""

    def remove(self, address: Address) -> None:
        """Forget an address; it need not be there."""


@dataclass(slots=True)
class Membership:
    """An accepted peer; ``absent_since`` is when, by ``clocks.uptime``, it was first not found in nhrpd's cache.

    ``None`` while it is bound.
    """

    request: BindingRequest
    peer: Peer
    absent_since: timedelta | None


@dataclass(frozen=True, slots=True)
class Revoked:
    """A peer that was accepted, or stored as accepted, and is not any more, and why."""

    request: BindingRequest
    why: Deny

    @property
    def subject(self) -> str:
        """Return who it is: its certificate's subject, or what it authenticated as."""
        if isinstance(self.request.certificate, Certificate):
            return self.request.certificate.subject
        return ", ".join(sorted(ike_peer.identity for ike_peer in self.request.ike_peers or ()))


class Peers:
    """The accepted peers by protocol address. ``now`` is that of ``clocks.uptime`` everywhere."""

    def __init__(self, store: PeerStore) -> None:
        self._store = store
        self._members: dict[Address, Membership] = {}
        self._holdings = PrefixIndex()
        self._ends = NbmaIndex()
        self._contested: dict[Address, Membership] = {}
        self._judged: set[Address] = set()

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
        """Return the memberships of the peers that keep others from what they hold."""
        return tuple(member for member in self._members.values() if self._is_live(member.peer, now))

    def conflicting(self, peer: Peer, now: timedelta) -> tuple[Peer, ...]:
        """Return the live peers of another identity that hold this one's address or overlap its prefixes."""
        return tuple(other for other in self._holdings.conflicting(peer) if self._is_live(other, now))

    def gained_conflicts(self, peer: Peer, now: timedelta) -> tuple[Peer, ...]:
        """Return the live peers of another identity that overlap what this one did not hold before."""
        member = self._members.get(peer.protocol_address)
        if member is None:
            return ()
        # What it held together with its site it may not hold so any more if the policy or its certificate changed.
        held = member.peer.prefixes if peer.site or not member.peer.site else ()
        gained = tuple(prefix for prefix in peer.prefixes if prefix not in held)
        return self.conflicting(replace(peer, prefixes=gained), now) if gained else ()

    def was_judged(self, address: Address) -> bool:
        """Tell whether somebody was judged for this address, since the start, who is or would be its peer."""
        return address in self._judged

    def mark_judged(self, address: Address) -> None:
        """Note that whoever has this address was judged."""
        self._judged.add(address)

    def earlier_at_nbma_address(self, peer: Peer, present: Collection[IkePeer], now: timedelta) -> tuple[Peer, ...]:
        """Return the live peers of another identity that came to this one's NBMA address before it.

        ``present``: who has an IKE_SA with that address. A peer that is not among them has left.
        """
        if not present:
            return ()
        return tuple(
            other
            for other in self._ends.before(peer)
            if self._is_live(other, now)
            and any(is_requester(self._members[other.protocol_address].request, ike_peer) for ike_peer in present)
        )

    def absent(self, now: timedelta) -> frozenset[Address]:
        """Return the protocol addresses that nhrpd has not had bound for longer than the grace time."""
        return frozenset(peer.protocol_address for peer in self if not self._is_live(peer, now))

    def _is_live(self, peer: Peer, now: timedelta) -> bool:
        absent_since = self._members[peer.protocol_address].absent_since
        return absent_since is None or now - absent_since <= GRACE

    def load(self, judge: Judge, now: timedelta) -> tuple[Revoked, ...]:
        """Take up what was stored, judged anew; return those who fail."""
        failed, accepted = [], []
        for request in self._store.load():
            decision = judge(request)
            if isinstance(decision, Accept) and decision.peer is not None:
                accepted.append(Membership(_to_keep(request), decision.peer, now))
            else:
                why = decision if isinstance(decision, Deny) else _NO_PEER
                failed.append(Revoked(request, why))
                self._leave(request.protocol_address, why)
        undisputed = _undisputed(accepted)
        self._contested = {
            member.peer.protocol_address: member for member in accepted
            if member.peer.protocol_address not in undisputed
        }  # fmt: skip
        for member in accepted:
            if member.peer.protocol_address in undisputed:
                self._enter(member)
        return tuple(failed)

    def resolve_stored_conflicts(self, bound: frozenset[Address], now: timedelta) -> bool:
        """Decide who holds what several stored peers claim, by whom nhrpd has bound; return whether any did."""
        contested, self._contested = self._contested, {}
        for address, member in reversed(contested.items()):
            holders = self._holdings.conflicting(member.peer)
            if address in bound and not any(holder.protocol_address in bound for holder in holders):
                for holder in holders:
                    self._forget(holder.protocol_address, f"nhrpd has {member.peer.subject} bound instead")
                self._enter(replace(member, absent_since=now))
            else:
                names = ", ".join(holder.subject for holder in holders) or "nobody"
                self._forget(address, f"replaced by {names} before the restart")
        return bool(contested)

    def rejudge(
        self,
        member: Membership,
        judge: Judge,
        refresh: Callable[[BindingRequest], BindingRequest] = lambda request: request,
    ) -> bool | Revoked:
        """Judge a peer again; return whether it changed, or that it is not accepted any more.

        ``refresh`` returns a peer's question with the certificate that it has now. One of ``memberships`` that has
        been replaced or has left since is let be.
        """
        if self._members.get(member.peer.protocol_address) is not member:
            return False
        request = refresh(member.request)
        if request.certificate != member.request.certificate:
            self._store.save(request)  # though it be denied: the former one must not count after a restart
        decision = judge(request)
        if isinstance(decision, Accept) and decision.peer is not None:
            for other in decision.replaces:
                self._forget(other.protocol_address, f"taken over by {decision.peer.subject}")
            if decision.peer != member.peer:
                self._enter(Membership(_to_keep(request), decision.peer, member.absent_since))
            return bool(decision.replaces) or decision.peer != member.peer
        why = decision if isinstance(decision, Deny) else _NO_PEER
        self._leave(member.peer.protocol_address, why)
        return Revoked(request, why)

    def apply_decision(self, request: BindingRequest, decision: Decision, now: timedelta) -> bool:
        """Record a decision; return whether that changed who is accepted, or as what.

        A denial takes back an earlier acceptance of the same peer on the same interface: of the same certificate, or
        of the same IKE identities where there is none. One of somebody else does not, or whoever asks for a peer's
        address could throw that peer out.
        """
        address = request.protocol_address
        member = self._members.get(address)
        if isinstance(decision, Accept):
            if decision.peer is None:
                return False
            for other in decision.replaces:
                self._forget(other.protocol_address, f"taken over by {decision.peer.subject}")
            for other in self._holdings.conflicting(decision.peer):
                if not self._is_live(other, now):
                    self._forget(other.protocol_address, f"gone, and replaced by {decision.peer.subject}")
            # `now` and not `None`: nhrpd makes the binding only after it has the answer.
            self._enter(Membership(_to_keep(request), decision.peer, now))
            if member is None or member.request != request:
                self._store.save(request)
            return bool(decision.replaces) or member is None or member.peer != decision.peer
        if member is not None and _asker(member.request) == _asker(request):
            self._leave(address, decision)
            return True
        if member is None and address not in self._judged and _is_named(request, decision):
            self._judged.add(address)
            return True
        return False

    def update_bound(self, bound: frozenset[Address], now: timedelta) -> None:
        """Take note of which protocol addresses nhrpd has bound."""
        for address, member in self._members.items():
            if address in bound:
                member.absent_since = None
            elif member.absent_since is None:
                member.absent_since = now

    def depart(self, linger: timedelta, now: timedelta, versions: Collection[int] = IP_VERSIONS) -> tuple[Peer, ...]:
        """Forget and return the peers that have been absent for longer than ``linger``.

        ``versions``: the IP versions of the protocol addresses that are looked at.
        """
        gone = tuple(
            member.peer
            for member in self.memberships()
            if member.absent_since is not None
            and now - member.absent_since > linger
            and member.peer.protocol_address.version in versions
        )
        for peer in gone:
            self._forget(peer.protocol_address, f"not in nhrpd's cache for {linger.total_seconds():.0f} s")
        return gone

    def _enter(self, member: Membership) -> None:
        self._judged.add(member.peer.protocol_address)
        self._contested.pop(member.peer.protocol_address, None)
        self._members[member.peer.protocol_address] = member
        self._holdings.add(member.peer)
        self._ends.add(member.peer)

    def _leave(self, address: Address, why: Deny) -> None:
        """Let go of a peer that is denied now. Its question stays in the store, unless time cannot heal it."""
        self._judged.add(address)
        self._members.pop(address, None)
        self._holdings.remove(address)
        self._ends.remove(address)
        if why.reason is Reason.CERTIFICATE_EXPIRED:
            self._store.remove(address)
        log.info("peer_denied_now", protocol_address=str(address), why=str(why))

    def _forget(self, address: Address, why: str) -> None:
        self._judged.add(address)
        self._members.pop(address, None)
        self._holdings.remove(address)
        self._ends.remove(address)
        self._store.remove(address)
        log.info("peer_forgotten", protocol_address=str(address), why=why)


def _undisputed(members: Iterable[Membership]) -> frozenset[Address]:
    """Return the addresses of those that conflict with none that was saved after them."""
    holdings = PrefixIndex()
    for member in reversed(tuple(members)):
        if not holdings.conflicting(member.peer):
            holdings.add(member.peer)
    return frozenset(peer.protocol_address for peer in holdings)


def _asker(request: BindingRequest) -> tuple[object, str]:
    """Return who asks, and where: a pre-shared key leaves nothing but the IKE identity to tell peers apart."""
    return (request.ike_peers if request.certificate is None else request.certificate), request.interface


#: The reasons that say nothing of whoever the address belongs to.
_OF_OTHERS = CONFLICTS | {Reason.CERTIFICATE_UNCONFIRMED, Reason.INTERNAL_ERROR}


def _is_named(request: BindingRequest, why: Deny) -> bool:
    """Tell whether a denied peer's certificate names the address: then the address is that peer's."""
    certificate = request.certificate
    if not isinstance(certificate, Certificate) or why.reason in _OF_OTHERS:
        return False
    named = (claim.value for source in certificate.resources.values() for claim in source.protocol_addresses)
    return request.protocol_address in named


def _to_keep(request: BindingRequest) -> BindingRequest:
    """Return a request as it is kept in memory: without what only reading needs; its DER is verified again."""
    if isinstance(request.certificate, Certificate):
        return replace(request, certificate=replace(request.certificate, subject_name=b""))
    return request


_NO_PEER = Deny(Reason.INTERNAL_ERROR, "peer", "none", "a peer")
