"""Finds IKE_SAs of peers without a binding on a hub, so that these peers register again.

A spoke without a binding has lost its registration: nhrpd denied it because the agent was down, or nhrpd was
restarted. The spoke does not know, and registers again only after a third of the holding time. If its IKE_SA ends, it
registers at once.

If all bindings go at once while the IKE_SAs stay, nhrpd was restarted or lost its connection to the bridge; then the
agent waits for a shorter time, and hardly at all if the tunnel interface or its address was away.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from operator import is_not
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.enforcement.patience import Lack, PeerKey, peer_key
from dmvpn_agent.enforcement.sa_terminator import Sas
from dmvpn_agent.policy.request import BindingRequest, is_sa_of
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

#: The cause for which the IKE_SAs end.
UNBOUND = "unbound"
#: nhrpd needs up to 10 s to connect to an agent that was down, and the spoke some to register.
PATIENCE = timedelta(seconds=30)
#: nhrpd connects to the bridge every 2 s, and must know its circuits again before a peer registers.
PATIENCE_AFTER_LOSS = timedelta(seconds=5)
#: nhrpd makes the binding of an accepted peer at once. It forgets it if another circuit of the peer goes meanwhile.
PATIENCE_AFTER_ACCEPT = timedelta(seconds=10)
#: With more peers than this without a binding, the node is busy or recovers from something else.
FEW = 5
#: How long after its start the agent waits for nhrpd to connect to it.
START_UP = timedelta(seconds=30)
#: nhrpd drops all bindings of an interface that goes down or loses its address, and the peers do not notice.
PATIENCE_AFTER_LINK = timedelta(seconds=1)
#: How long after an interface came back a missing binding counts as lost with it.
LINK_SETTLING = timedelta(seconds=10)


class Cache(Protocol):
    """nhrpd's cache as last read."""

    last_read: timedelta | None
    bound: frozenset[Address]

    def trigger(self) -> None:
        """Read it soon."""


class OrphanSas:
    """The IKE_SAs without a binding in nhrpd: ``PATIENCE`` for most, ``PATIENCE_AFTER_LOSS`` if all were lost."""

    def __init__(self, sas: Sas, peers: Peers, denied: DenialTable, cache: Cache, clock: Uptime) -> None:
        self._sas = sas
        self._peers = peers
        self._denied = denied
        self._cache = cache
        self._clock = clock
        self._since: dict[str, timedelta] = {}
        self._seen: tuple[object, ...] = ()
        self._were_bound: set[PeerKey] = set()
        self._lost: set[PeerKey] = set()
        self._link_back: timedelta | None = None
        self._started: timedelta | None = None

    def link_back(self) -> None:
        """Note that a tunnel interface, or an address of it, has come back just now."""
        self._link_back = self._clock()
        self._cache.trigger()

    def report(self, lack: Lack) -> None:
        """Log that the IKE_SAs of a lack end."""
        log.warning("peer_unbound", remote_id=lack.sas[0].remote_id, nbma_address=str(lack.sas[0].remote_host),
                    why="it has an IKE_SA, and no binding in nhrpd", all_lost=lack.peer in self._lost)  # fmt: skip

    def read_again(self) -> None:
        """Have nhrpd's cache read soon."""
        self._cache.trigger()

    def check(self) -> list[Lack]:
        """Return the bindings that are missing, one lack for each peer."""
        now = self._clock()
        if self._started is None:
            self._started = now
        if not (self._since or self._inputs_changed()):
            return []
        expected = self._bound_or_denied()
        unbound = {sa.spis: sa for sa in self._sas.our_sas() if self._is_unbound(sa, expected)}
        self._since = {spis: self._since.get(spis, now) for spis in unbound}
        self._note_loss(unbound)
        by_peer: dict[PeerKey, list[IkeSa]] = defaultdict(list)
        for sa in unbound.values():
            by_peer[peer_key(sa)].append(sa)
        return [self._lack(sas) for sas in by_peer.values()]

    def _inputs_changed(self) -> bool:
        """Tell whether an IKE_SA may be unbound that was not at the last check: a thousand take 5 ms to compare."""
        seen = self._sas.ike_sas, self._peers.version, self._cache.bound, self._denied.version
        changed = len(self._seen) != len(seen) or any(map(is_not, seen, self._seen))
        self._seen = seen
        return changed

    def _lack(self, sas: list[IkeSa]) -> Lack:
        since = max(self._since[sa.spis] for sa in sas)
        patience = PATIENCE
        if self._link_back is not None and abs(since - self._link_back) <= LINK_SETTLING:
            since, patience = max(since, self._link_back), PATIENCE_AFTER_LINK
        elif peer_key(sas[0]) in self._lost:
            patience = PATIENCE_AFTER_LOSS
        elif (accepted := self._accepted_at(sas[0])) is not None:
            since, patience = max(since, accepted), PATIENCE_AFTER_ACCEPT
        return Lack(tuple(sas), UNBOUND, since, patience, known_at=self._cache.last_read or timedelta.min)

    def _accepted_at(self, sa: IkeSa) -> timedelta | None:
        """Return since when an accepted peer, one of few, lacks its binding; ``None`` for any other IKE_SA."""
        if self._started is None or len(self._since) > FEW or self._clock() - self._started < START_UP:
            return None
        here = self._sas.sas_at(sa.remote_host)
        absences = (
            member.absent_since
            for member in self._peers.memberships()
            if member.request.nbma_address == sa.remote_host and is_sa_of(sa, member.request, here)
        )
        return max((absence for absence in absences if absence is not None), default=None)

    def _note_loss(self, unbound: Mapping[str, IkeSa]) -> None:
        absent = {peer_key(sa) for sa in unbound.values()}
        bound = {
            peer_key(sa)
            for sa in self._sas.our_sas()
            if sa.spis not in unbound and any(child.installed for child in sa.children)
        }
        if not bound:
            self._lost |= absent & self._were_bound
        self._lost &= absent
        self._were_bound = bound | (self._were_bound & absent)

    def _bound_or_denied(self) -> dict[Address, list[BindingRequest]]:
        """Return the requests that nhrpd has bound, and those that were denied, by NBMA address."""
        found: dict[Address, list[BindingRequest]] = defaultdict(list)
        for member in self._peers.memberships():
            if member.peer.protocol_address in self._cache.bound:
                found[member.request.nbma_address].append(member.request)
        for denial in self._denied:
            found[denial.request.nbma_address].append(denial.request)
        return found

    def _is_unbound(self, sa: IkeSa, expected: Mapping[Address, list[BindingRequest]]) -> bool:
        if not any(child.installed for child in sa.children):
            return False
        here = tuple(other for other in self._sas.sas_at(sa.remote_host) if other.name == sa.name)
        requests = [
            request
            for request in expected.get(sa.remote_host, [])
            if sa in self._sas.sas_of(request.interface, sa.remote_host)
        ]
        # If each peer behind the address has a request, no IKE_SA ends only because its name is printed differently.
        # A peer with several protocol addresses counts once.
        if len({_identity(request) for request in requests}) >= len({other.remote_id for other in here}):
            return False
        return not any(is_sa_of(sa, request, here) for request in requests)


def _identity(request: BindingRequest) -> object:
    """Return what all requests of a peer have in common, whatever the protocol address."""
    certificate = request.certificate
    if isinstance(certificate, Certificate):
        return certificate.identity
    return request.ike_peers or request.protocol_address
