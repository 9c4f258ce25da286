"""Keeps the CAs and CRLs in force in step with the operator's files.

A CRL that vanishes, breaks or is replaced by an older one stays in force, across restarts too (``TrustSource`` keeps
it): nobody is let in because of a file. Nor is anybody thrown out because of a file that is just being written: a CA
counts until its file has lacked it at two looks.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog

from dmvpn_agent.runtime.backoff import Troubles
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.telemetry import Samples, Telemetry
from dmvpn_agent.x509 import metrics
from dmvpn_agent.x509.trust import Trust

log = structlog.get_logger()

#: Seconds between two looks whether a file has changed.
INTERVAL = 1.0
#: Looks at files that change all the time until they count as they are.
PATIENCE = 10
#: Seconds that a policy waits for the files that it comes with: a disk may hang.
RELOAD_TIMEOUT = 10.0


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
        self._reported = defaultdict[str, Troubles[str]](Troubles)
        self._learned = 0  # how often intermediate CAs became known
        self._in_force: tuple[Trust, int] | None = None
        self._looking = asyncio.Lock()
        self._wanted = DebouncedEvent()
        self._then: Callable[[Trust], None] | None = None
        self._doubted: Hashable = None
        self._doubts = 0
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
        self._stamp, self._in_force = stamp, (self.trust, self._learned)

    async def run(self) -> None:
        """Look at the files until cancelled."""
        await self._give_to_charon()
        while True:
            await self._wanted.wait(within=INTERVAL, then=0)
            await self.check()

    async def check(self) -> None:
        """Read the files if one has changed, and put in force what they say."""
        async with self._looking:
            await self._check()

    async def _check(self) -> None:
        source, then, learned = self._source, self._then, self._learned
        try:
            stamp = await asyncio.to_thread(source.stamp)
            if stamp == self._stamp:
                return
            read = await asyncio.to_thread(source.read)
        except Exception:
            self._done(then)  # what is read is no reason to keep a former policy
            raise
        # Others are to be read by now, or these again, when they are written.
        if source is not self._source or (then is None and self._is_doubtful(read, stamp)):
            return
        self._take(read)
        if (self.trust, learned) == self._in_force:
            self._done(then)
        else:
            await self._put_in_force(then)
            self._in_force = self.trust, learned
        if source is self._source:
            self._stamp = stamp if learned == self._learned else None

    async def _put_in_force(self, then: Callable[[Trust], None] | None) -> None:
        log.info("trust_changed", authorities=len(self.trust.authorities),
                 revoked={crl.issuer: len(crl.serials) for crl in self.trust.revocations})  # fmt: skip
        # charon first: whoever loses an IKE_SA to this is not to come back by way of an older CRL.
        await self._give_to_charon()
        if not self._done(then):
            self._changed(self.trust)

    def _is_doubtful(self, read: TrustRead, stamp: Hashable) -> bool:
        """Tell whether CAs are missing that were there at the last look: their file may be half written."""
        lost = {one.fingerprint for one in self.trust.authorities} - {
            one.fingerprint for one in read.trust.authorities
        }
        doubtful = self._in_force is not None and bool(lost) and stamp != self._doubted and self._doubts < PATIENCE
        self._doubted, self._doubts = (stamp, self._doubts + 1) if doubtful else (None, 0)
        return doubtful

    def _done(self, then: Callable[[Trust], None] | None) -> bool:
        """Do what waited for a reading, once; return whether there was anything."""
        if then is None:
            return False
        if self._then is then:
            self._then = None
        then(self.trust)
        return True

    async def _give_to_charon(self) -> None:
        """Never raises: that charon has no CRL must not keep the agent from going by it."""
        try:
            await self._load_crls(self.crls)
        except Exception:
            log.exception("crls_not_given_to_charon", crls=len(self.crls),
                          consequence="the agent denies revoked peers, charon may let them in")  # fmt: skip

    @property
    def is_reloading(self) -> bool:
        """Tell whether a policy waits for its files."""
        return self._then is not None

    def reload(self, source: TrustSource, then: Callable[[Trust], None]) -> None:
        """Read other files from now on; ``then`` is called with what they say, in place of ``changed``.

        A policy and the files that it asks for come into force together, or everybody would be thrown out in between.
        Where they cannot be read in time, ``then`` is called with what is known.
        """
        self._source, self._stamp, self._then = source, None, then
        self._wanted.set(urgent=True)
        asyncio.get_running_loop().call_later(RELOAD_TIMEOUT, self._give_up_waiting, then)

    def _give_up_waiting(self, then: Callable[[Trust], None]) -> None:
        if self._then is then:
            log.error("trust_not_read", why=f"it takes longer than {RELOAD_TIMEOUT:g} s",
                      consequence="the new policy is in force with the CAs and CRLs of before")  # fmt: skip
            self._done(then)

    async def learn(self, certificates: Iterable[bytes]) -> None:
        """Take up the intermediate CAs among certificates (DER) that charon has, and put them in force at once.

        One may be the issuer of a CA in ``policy.ca_certificates`` that was the trust anchor until now, and revoked.
        """
        if self._source.learn(certificates):
            self._learned, self._stamp = self._learned + 1, None
            await self.check()

    def _take(self, read: TrustRead) -> None:
        self.trust, self.crls, self.problems = read.trust, read.crls, (*read.problems, *read.rolled_back)
        for problem in self._reported["problem"].new(read.problems):
            log.error("trust_unusable", why=problem)
        for rollback in self._reported["rolled_back"].new(read.rolled_back):
            self._telemetry.increment(metrics.CRL_ROLLBACKS)
            log.error("crl_rollback_refused", why=rollback)
        for missing in self._reported["missing"].new(read.missing):
            log.error("crl_missing", issuer=missing, consequence="the last one stays in force",
                      do="put the CRL back into policy.crls; or delete the kept one, and restart")  # fmt: skip
        self._telemetry.increment(metrics.TRUST_READS, "problem" if self.problems else "read")

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
