"""Has a peer authenticate anew where an older certificate of it in charon's cache keeps the newer one from counting.

charon does not tell which of them a peer used, and keeps the older one until chance replaces it. So its cache is
emptied, and the peer's IKE_SA ended: what is in the cache when the peer is back is what it used. Everybody else's
certificates were read before that. Only what a peer authenticated with in the moment between reading and emptying is
lost; such an IKE_SA shows up without a certificate, and is ended as well, once.

Anybody can put an old certificate into the cache by sending it, so there is a limit to how often somebody's IKE_SA
is ended for it. Whatever happens, nobody gets more than the least_privileged of the certificates that could be meant.
"""

from collections.abc import Iterable
from datetime import timedelta
from itertools import islice

import structlog

from dmvpn_agent.bridge import metrics
from dmvpn_agent.charon.commands import end_ike_sa, flush_certificates
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.charon.session import CharonSession, CommandFailed
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: How long an identity is left alone after it was made to authenticate anew.
PER_IDENTITY = timedelta(hours=1)
#: How long the cache is left alone after it was emptied.
PER_CACHE = timedelta(minutes=1)
#: How many IKE_SAs are ended at one look because nobody knows how their peers authenticated.
AT_ONCE = 10
#: An IKE_SA that came up this long before the cache was emptied, or after it, may have lost its certificate by that.
#: charon tells in whole seconds when it came up.
LOST_BEFORE, LOST_AFTER = timedelta(seconds=5), timedelta(seconds=2)


class Renewals:
    """What was emptied and ended, so that it stays rare."""

    def __init__(self, telemetry: Telemetry, clocks: Clocks) -> None:
        self._telemetry = telemetry
        self._clocks = clocks
        self._tried_at: timedelta | None = None
        self._flushed_at: timedelta | None = None
        self._ended: dict[str, timedelta] = {}
        self._lost: set[str] = set()

    def may(self, sa: IkeSa) -> bool:
        """Tell whether its peer may be made to authenticate anew now."""
        now = self._clocks.uptime()
        self._ended = {identity: then for identity, then in self._ended.items() if now - then < PER_IDENTITY}
        recently = self._tried_at is not None and now - self._tried_at < PER_CACHE
        return not recently and sa.remote_id not in self._ended

    async def flush(self, session: CharonSession) -> bool:
        """Empty charon's cache of certificates; return whether it is empty. Raises ``CharonLost``."""
        self._tried_at = self._clocks.uptime()
        self._lost.clear()
        try:
            await flush_certificates(session)
        except CommandFailed as error:
            self._telemetry.increment(metrics.BRIDGE_CACHE_FLUSHES, "failed")
            log.warning("cache_not_flushed", why=str(error))
            return False
        self._flushed_at = self._clocks.uptime()
        self._telemetry.increment(metrics.BRIDGE_CACHE_FLUSHES, "flushed")
        return True

    async def again(self, session: CharonSession, sa: IkeSa) -> None:
        """End an IKE_SA whose peer has competing certificates. Raises ``CharonLost``."""
        self._ended[sa.remote_id] = self._clocks.uptime()
        await self._end(session, sa, "competing")

    async def doubtful(self, session: CharonSession, sas: Iterable[IkeSa]) -> None:
        """End IKE_SAs of which nobody knows how the peer authenticated, a few at a time. Raises ``CharonLost``."""
        for sa in islice((sa for sa in sas if sa.established), AT_ONCE):
            await self._end(session, sa, "doubtful")

    async def missing(self, session: CharonSession, sa: IkeSa) -> None:
        """End an IKE_SA without a certificate, once, if that was lost with the cache. Raises ``CharonLost``."""
        came, flushed = sa.established_at, self._flushed_at
        if came is None or flushed is None or sa.spis in self._lost:
            return
        age, passed = self._clocks.now() - came, self._clocks.uptime() - flushed
        if passed - LOST_AFTER <= age <= passed + LOST_BEFORE:
            self._lost.add(sa.spis)
            await self._end(session, sa, "lost")

    async def _end(self, session: CharonSession, sa: IkeSa, cause: str) -> None:
        log.warning("peer_authenticates_anew", remote_id=sa.remote_id, nbma_address=str(sa.remote_host),
                    ike_id=sa.unique_id, cause=cause)  # fmt: skip
        try:
            await end_ike_sa(session, sa)
        except CommandFailed as error:
            cause = "failed"
            log.warning("ike_sa_not_ended", ike_id=sa.unique_id, why=str(error))
        self._telemetry.increment(metrics.BRIDGE_REAUTHENTICATIONS, cause)
