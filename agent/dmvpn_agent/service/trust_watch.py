"""Keeps the CAs and CRLs in force in step with the operator's files.

A CRL that vanishes, or cannot be read any more, stays in force while the agent runs: nobody is let in because a file
is missing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from dmvpn_agent.core import metrics
from dmvpn_agent.core.policy import Trust
from dmvpn_agent.service.telemetry import Samples, Telemetry

log = structlog.get_logger()

#: Seconds between two looks whether a file has changed.
INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class TrustRead:
    """What the files say. ``crls`` are the CRLs in force in DER; ``problems`` what could not be used, and why."""

    trust: Trust
    crls: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()


class TrustSource(Protocol):
    """The operator's CA certificates and CRLs."""

    def stamp(self) -> Hashable:
        """Return something that is different after a file was changed."""

    def read(self) -> TrustRead:
        """Read everything; what cannot be used is a problem, never an exception."""


class TrustWatch:
    """The trust in force. ``load_crls`` gives charon the CRLs, before ``changed`` is told of the new trust."""

    def __init__(
        self,
        source: TrustSource,
        telemetry: Telemetry,
        load_crls: Callable[[tuple[bytes, ...]], Awaitable[None]],
        changed: Callable[[Trust], None],
    ) -> None:
        self._source = source
        self._telemetry = telemetry
        self._load_crls = load_crls
        self._changed = changed
        self._stamp: Hashable = None
        self._is_known = False
        self._said: frozenset[str] = frozenset()
        self._kept: frozenset[bytes] = frozenset()
        self.trust = Trust()
        self.crls: tuple[bytes, ...] = ()
        self.problems: tuple[str, ...] = ()
        telemetry.observe(metrics.TRUST_AUTHORITIES, lambda: len(self.trust.authorities))
        telemetry.observe(metrics.CRL_REVOKED, self._revoked)
        telemetry.observe(metrics.CRL_NEXT_UPDATE, self._next_updates)

    def start(self) -> None:
        """Read the files for the first time."""
        stamp = self._source.stamp()
        self._take(self._source.read())
        self._stamp, self._is_known = stamp, True

    async def run(self) -> None:
        """Look at the files until cancelled."""
        await self._load_crls(self.crls)
        while True:
            await asyncio.sleep(INTERVAL)
            await self.look()

    async def look(self) -> None:
        """Read the files if one has changed, and put in force what they say."""
        stamp = await asyncio.to_thread(self._source.stamp)
        if stamp == self._stamp:
            return
        before = self.trust
        self._take(await asyncio.to_thread(self._source.read))
        was_known, self._stamp, self._is_known = self._is_known, stamp, True
        if was_known and self.trust == before:
            return
        log.info("trust_changed", authorities=len(self.trust.authorities),
                 revoked={crl.issuer: len(crl.serials) for crl in self.trust.revocations.values()})  # fmt: skip
        # charon first: whoever loses an IKE_SA to this is not to come back by way of an older CRL.
        await self._load_crls(self.crls)
        self._changed(self.trust)

    def reload(self, source: TrustSource) -> None:
        """Read other files from now on."""
        self._source, self._stamp = source, None

    def _take(self, read: TrustRead) -> None:
        missing = {
            issuer: crl for issuer, crl in self.trust.revocations.items() if issuer not in read.trust.revocations
        }
        for issuer in missing.keys() - self._kept:
            log.error("crl_missing", issuer=missing[issuer].issuer, kept="the last one, until the agent is restarted",
                      do="put the CRL back into policy.crls")  # fmt: skip
        self._kept = frozenset(missing)
        self.trust = replace(read.trust, revocations={**missing, **read.trust.revocations})
        self.crls, self.problems = read.crls, read.problems
        for problem in read.problems:
            if problem not in self._said:
                log.error("trust_unusable", why=problem)
        self._said = frozenset(read.problems)
        self._telemetry.increment(metrics.TRUST_READS, "problem" if read.problems else "read")

    def _revoked(self) -> Samples:
        return {(crl.issuer,): len(crl.serials) for crl in self.trust.revocations.values()}

    def _next_updates(self) -> Samples:
        return {
            (crl.issuer,): crl.next_update.timestamp()
            for crl in self.trust.revocations.values()
            if crl.next_update is not None
        }
