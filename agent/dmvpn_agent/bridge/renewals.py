"""Makes a peer authenticate again if an older certificate of it in charon's cache keeps a newer one from counting.

charon does not say which of them the peer used, and keeps the older one until it evicts it by chance. So the bridge
flushes the cache and ends the peer's IKE_SA: when the peer is back, the cache holds the certificate that it uses. The
bridge has read the certificates of all other peers before. Only a peer that authenticates between the reading and the
flush loses its certificate; the bridge ends its IKE_SA as well, once.

Any peer can put another peer's old certificate into the cache by sending it. So there is a limit to how often the
bridge ends an identity's IKE_SA. In any case a peer gets no more than the least privileged of its certificates.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.certificate_cache import CertificateCache
from dmvpn_agent.charon.commands import end_ike_sa
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonSession, CommandFailed
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Certificate

log = structlog.get_logger()

#: The bridge makes an identity authenticate again at most once in this time.
PER_IDENTITY = timedelta(hours=1)
#: The bridge flushes the cache at most once in this time.
PER_CACHE = timedelta(minutes=1)
#: So many IKE_SAs of unknown authentication method are ended in one refresh.
AT_ONCE = 10
#: An IKE_SA that came up this long before or after a flush may have lost its certificate by it. charon gives the time
#: in whole seconds.
LOST_BEFORE, LOST_AFTER = timedelta(seconds=5), timedelta(seconds=2)


class Renewals:
    """The flushes and the IKE_SAs ended, with their limits. Every coroutine raises ``CharonLost``."""

    def __init__(self, cache: CertificateCache, telemetry: Telemetry, clocks: Clocks) -> None:
        self._cache = cache
        self._telemetry = telemetry
        self._clocks = clocks
        self._tried_at: timedelta | None = None
        self._flushed_at: timedelta | None = None
        self._renewed: dict[str, timedelta] = {}
        # By address and identity: a peer without a certificate comes back with another IKE_SA.
        self._ended_as_lost: set[tuple[Address, str]] = set()

    async def renew(self, session: CharonSession, competing: Sequence[tuple[IkeSa, Sequence[Certificate]]]) -> None:
        """Flush the cache, and end IKE_SAs whose peers have several certificates, as far as the limits allow."""
        allowed = [(sa, certificates) for sa, certificates in competing if self._may_renew(sa)]
        if not allowed:
            return
        self._tried_at = self._clocks.uptime()
        self._ended_as_lost.clear()
        if not await self._cache.flush(session, {one.der for _, certificates in allowed for one in certificates}):
            return
        self._flushed_at = self._clocks.uptime()
        for sa, _ in allowed:
            self._renewed[sa.remote_id] = self._clocks.uptime()
            await self._end(session, sa, "competing")

    async def end_unknown_methods(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """End IKE_SAs of which the bridge does not know how the peer authenticated, a few at a time."""
        for sa in islice((sa for sa in sas if sa.established), AT_ONCE):
            await self._end(session, sa, "doubtful")

    async def end_if_lost(self, session: CharonSession, sa: IkeSa) -> None:
        """End a peer's IKE_SA without a certificate, once a flush, if the flush may have removed that."""
        came, flushed, peer = sa.established_at, self._flushed_at, (sa.remote_host, sa.remote_id)
        if came is None or flushed is None or peer in self._ended_as_lost:
            return
        age, since_flush = self._clocks.now() - came, self._clocks.uptime() - flushed
        if since_flush - LOST_AFTER <= age <= since_flush + LOST_BEFORE:
            self._ended_as_lost.add(peer)
            await self._end(session, sa, "lost")

    def _may_renew(self, sa: IkeSa) -> bool:
        now = self._clocks.uptime()
        self._renewed = {identity: then for identity, then in self._renewed.items() if now - then < PER_IDENTITY}
        flushed_recently = self._tried_at is not None and now - self._tried_at < PER_CACHE
        return not flushed_recently and sa.remote_id not in self._renewed

    async def _end(self, session: CharonSession, sa: IkeSa, cause: str) -> None:
        log.warning("peer_authenticates_anew", remote_id=sa.remote_id, nbma_address=str(sa.remote_host),
                    ike_id=sa.unique_id, cause=cause)  # fmt: skip
        try:
            await end_ike_sa(session, sa)
        except CommandFailed as error:
            cause = "failed"
            log.warning("ike_sa_not_ended", ike_id=sa.unique_id, why=str(error))
        self._telemetry.increment(metrics.BRIDGE_REAUTHENTICATIONS, cause)
