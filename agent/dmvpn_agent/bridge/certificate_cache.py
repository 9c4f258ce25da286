"""charon's cache of certificates, and what it held a moment ago.

The cache has room for 32 verified relations between certificates, and evicts them at random. If forty peers come at
once, some of their certificates are evicted before the bridge has listed all IKE_SAs. So the bridge also remembers
what it read since the refresh before the last one.
"""

import asyncio
from collections.abc import Set

import structlog

from dmvpn_agent.bridge import metrics
from dmvpn_agent.charon.commands import flush_certificates, list_certificates
from dmvpn_agent.charon.session import CharonLost, CharonSession, CommandFailed
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()


class CertificateCache:
    """Certificates are DER. Every method that takes a session raises ``CharonLost``."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = asyncio.Lock()  # a certificate read before a flush must not be remembered after it
        self._since_refresh: set[bytes] = set()
        self._before_refresh: set[bytes] = set()

    async def remember(self, session: CharonSession) -> None:
        """Read the cache, and remember what it holds."""
        async with self._lock:
            self._since_refresh |= await _list(session)

    def remembered(self) -> Set[bytes]:
        """Return what was read since the refresh before the last one."""
        return self._since_refresh | self._before_refresh

    def begin_refresh(self) -> Set[bytes]:
        """Return what is remembered, and forget what is older than the last refresh."""
        remembered = self.remembered()
        self._before_refresh, self._since_refresh = self._since_refresh, set()
        return remembered

    async def read(self, session: CharonSession) -> Set[bytes]:
        """Return what the cache holds, and what was remembered since the refresh began."""
        async with self._lock:
            return await _list(session) | self._since_refresh

    async def flush(self, session: CharonSession, unwanted: Set[bytes]) -> bool:
        """Empty the cache, and remember all but the unwanted certificates; return whether charon did it."""
        async with self._lock:
            self._since_refresh |= await _list(session)  # as late as possible
            try:
                await flush_certificates(session)
            except CommandFailed as error:
                self._telemetry.increment(metrics.BRIDGE_CACHE_FLUSHES, "failed")
                log.warning("cache_not_flushed", why=str(error))
                return False
            self._since_refresh -= unwanted
            self._before_refresh -= unwanted
        self._telemetry.increment(metrics.BRIDGE_CACHE_FLUSHES, "flushed")
        return True


async def _list(session: CharonSession) -> set[bytes]:
    try:
        return set(await list_certificates(session))
    except CommandFailed as error:
        raise CharonLost(f"list-certs: {error}") from error
