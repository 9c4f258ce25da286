"""Keeps the CAs and CRLs in force in step with the operator's files.

A CRL that vanishes, breaks or is replaced by an older one stays in force, across restarts too (``TrustSource`` keeps
it): nobody is let in because of a file.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
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
    """What the files say. ``crls`` are the CRLs in force in DER; ``problems`` what could not be used, and why.

    ``rolled_back``: older CRLs that were offered in place of newer ones; ``missing``: CRLs that are in force and in
    no file any more; for people.
    """

    trust: Trust
    crls: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class TrustSource(Protocol):
    """The operator's CA certificates and CRLs."""

    def stamp(self) -> Hashable:
        """Return something that is different after a file was changed."""

    def read(self) -> TrustRead:
        """Read everything; what cannot be used is a problem, never an exception."""

    def learn(self, certificates: Iterable[bytes]) -> bool:
        """Take up the CA certificates (DER) among these that a known CA issued; tell whether there were any."""


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
        self._said: dict[str, frozenset[str]] = {}
        self._learned = False
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
        await self._give_to_charon()
        while True:
            await asyncio.sleep(INTERVAL)
            await self.look()

    async def look(self) -> None:
        """Read the files if one has changed, and put in force what they say."""
        stamp = await asyncio.to_thread(self._source.stamp)
        if stamp == self._stamp:
            return
        before, learned, self._learned = self.trust, self._learned, False
        self._take(await asyncio.to_thread(self._source.read))
        was_known, self._stamp, self._is_known = self._is_known, None if self._learned else stamp, True
        if was_known and self.trust == before and not learned:
            return
        log.info("trust_changed", authorities=len(self.trust.authorities),
                 revoked={crl.issuer: len(crl.serials) for crl in self.trust.revocations})  # fmt: skip
        # charon first: whoever loses an IKE_SA to this is not to come back by way of an older CRL.
        await self._give_to_charon()
        self._changed(self.trust)

    async def _give_to_charon(self) -> None:
        """Never raises: that charon has no CRL must not keep the agent from going by it."""
        try:
            await self._load_crls(self.crls)
        except Exception:
            log.exception("crls_not_given_to_charon", crls=len(self.crls),
                          consequence="the agent denies revoked peers, charon may let them in")  # fmt: skip

    def reload(self, source: TrustSource) -> None:
        """Read other files from now on."""
        self._source, self._stamp = source, None

    def learn(self, certificates: Iterable[bytes]) -> None:
        """Take up the intermediate CAs among certificates (DER) that charon has; the next look puts them in force."""
        if self._source.learn(certificates):
            self._learned, self._stamp = True, None

    def _take(self, read: TrustRead) -> None:
        self.trust, self.crls, self.problems = read.trust, read.crls, (*read.problems, *read.rolled_back)
        for problem in self._news("problem", read.problems):
            log.error("trust_unusable", why=problem)
        for rollback in self._news("rolled_back", read.rolled_back):
            self._telemetry.increment(metrics.CRL_ROLLBACKS)
            log.error("crl_rollback_refused", why=rollback)
        for missing in self._news("missing", read.missing):
            log.error("crl_missing", issuer=missing, kept="the last one stays in force",
                      do="put the CRL back into policy.crls; or delete the kept one, and restart")  # fmt: skip
        self._telemetry.increment(metrics.TRUST_READS, "problem" if self.problems else "read")

    def _news(self, kind: str, texts: tuple[str, ...]) -> list[str]:
        """Return those texts that were not there the last time."""
        before, self._said[kind] = self._said.get(kind, frozenset()), frozenset(texts)
        return [text for text in dict.fromkeys(texts) if text not in before]

    def _revoked(self) -> Samples:
        counts: dict[tuple[str, ...], float] = {}
        for crl in self.trust.revocations:  # a CA with several keys has several lists
            counts[(crl.issuer,)] = counts.get((crl.issuer,), 0) + len(crl.serials)
        return counts

    def _next_updates(self) -> Samples:
        first: dict[tuple[str, ...], float] = {}
        for crl in self.trust.revocations:
            if crl.next_update is not None:
                due = crl.next_update.timestamp()
                first[(crl.issuer,)] = min(due, first.get((crl.issuer,), due))
        return first
