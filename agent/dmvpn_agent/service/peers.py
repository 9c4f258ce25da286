"""Who is accepted: the peers, whether nhrpd still has them bound, and what survives a restart.

What is stored is the question with its certificate, not the answer: after a restart, and whenever the policy
changed, every peer is judged again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from dmvpn_agent.core.model import Accept, Address, BindingRequest, Decision, Peer

log = structlog.get_logger()


class PeerStore(Protocol):
    """Keeps binding requests across restarts, one a protocol address."""

    def load(self) -> Iterable[BindingRequest]:
        """Return all that was saved; what cannot be read any more is left out."""

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one."""

    def remove(self, address: Address) -> None:
        """Forget an address; it need not be there."""


@dataclass(slots=True)
class Membership:
    """An accepted peer; ``absent_since`` is when it was first not found in nhrpd's cache, ``None`` while bound."""

    request: BindingRequest
    peer: Peer
    absent_since: datetime | None


class Peers:
    """The accepted peers by protocol address."""

    def __init__(self, store: PeerStore) -> None:
        self._store = store
        self._members: dict[Address, Membership] = {}

    def __iter__(self) -> Iterator[Peer]:
        return (member.peer for member in self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, address: Address) -> bool:
        return address in self._members

    def memberships(self) -> tuple[Membership, ...]:
        """Return all memberships as they are now."""
        return tuple(self._members.values())

    def load(self, judge: Callable[[BindingRequest], Decision], now: datetime) -> None:
        """Take up what was stored, judged anew; those who fail are forgotten."""
        for request in self._store.load():
            decision = judge(request)
            if isinstance(decision, Accept) and decision.peer is not None:
                self._members[request.protocol_address] = Membership(request, decision.peer, now)
            else:
                self._forget(request.protocol_address, str(decision))

    def rejudge(self, judge: Callable[[BindingRequest], Decision]) -> tuple[Peer, ...]:
        """Judge every peer again; return those who are not accepted any more, which are forgotten."""
        failed = []
        for member in self.memberships():
            decision = judge(member.request)
            if isinstance(decision, Accept) and decision.peer is not None:
                member.peer = decision.peer
            else:
                failed.append(member.peer)
                self._forget(member.peer.protocol_address, str(decision))
        return tuple(failed)

    def settle(self, request: BindingRequest, decision: Decision, now: datetime) -> bool:
        """Record a decision; return whether that changed who is accepted, or as what.

        A denial takes back an earlier acceptance of the same certificate on the same interface; one of another
        certificate does not, or whoever asks for a peer's address could throw that peer out.
        """
        address = request.protocol_address
        member = self._members.get(address)
        if isinstance(decision, Accept):
            if decision.peer is None:
                return False
            # `now` and not `None`: nhrpd makes the binding only after it has the answer.
            self._members[address] = Membership(request, decision.peer, now)
            self._store.save(request)
            return member is None or member.peer != decision.peer
        if member is not None and (member.request.certificate, member.request.interface) == (
            request.certificate, request.interface,
        ):  # fmt: skip
            self._forget(address, str(decision))
            return True
        return False

    def observe(self, bound: frozenset[Address], now: datetime) -> None:
        """Take note of which protocol addresses nhrpd has bound."""
        for address, member in self._members.items():
            if address in bound:
                member.absent_since = None
            elif member.absent_since is None:
                member.absent_since = now

    def depart(self, linger: timedelta, now: datetime) -> tuple[Peer, ...]:
        """Forget and return the peers that have been absent for longer than ``linger``."""
        gone = tuple(
            member.peer
            for member in self.memberships()
            if member.absent_since is not None and now - member.absent_since > linger
        )
        for peer in gone:
            self._forget(peer.protocol_address, f"not in nhrpd's cache for {linger.total_seconds():.0f} s")
        return gone

    def _forget(self, address: Address, why: str) -> None:
        self._members.pop(address, None)
        self._store.remove(address)
        log.info("peer_forgotten", protocol_address=str(address), why=why)
