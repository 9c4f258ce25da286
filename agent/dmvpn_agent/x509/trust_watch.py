"""Keeps the CAs and CRLs in force up to date with the operator's files.

A file never lets a peer in by accident: a CRL that vanishes, breaks or is replaced by an older one stays in force,
also across restarts (``KeptTrust``). Nor does a half-written file end a peer's session: a CA counts until its file
has lacked it in two checks.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable

import structlog

from dmvpn_agent.runtime.backoff import Troubles
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.source import Source, SourceName
from dmvpn_agent.runtime.telemetry import Samples, Telemetry
from dmvpn_agent.x509 import metrics
from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import Refusal, TrustFilesReader, TrustRead

log = structlog.get_logger()

#: Seconds between two checks whether a file has changed.
INTERVAL = 1.0
#: After this many checks, files that keep changing count as they are.
PATIENCE = 10
#: Seconds that a new policy waits for its files: a disk may hang.
RELOAD_TIMEOUT = 10.0

Callback = Callable[[Trust], None]


class TrustWatch:
    """The trust in force. ``load_crls`` gives charon the CRLs; after that, ``changed`` gets the new trust."""

    def __init__(
        self,
        source: TrustFilesReader,
        telemetry: Telemetry,
        load_crls: Callable[[tuple[bytes, ...]], Awaitable[None]],
        changed: Callback,
    ) -> None:
        self._source = source
        self._telemetry = telemetry
        self._load_crls = load_crls
        self._changed = changed
        self._stamp: Hashable = None
        self._reported = defaultdict[str, Troubles[str]](Troubles)
        self._times_learned = 0
        self._in_force: tuple[Trust, int] | None = None
        self._checking = asyncio.Lock()
        self._requested = DebouncedEvent()
        self._reloaded: Callback | None = None
        self._doubtful_stamp: Hashable = None
        self._doubts = 0
        self.trust = Trust()
        self.crls: tuple[bytes, ...] = ()
        self.problems: tuple[str, ...] = ()
        telemetry.observe(metrics.TRUST_AUTHORITIES, lambda: len(self.trust.authorities))
        self._reads = Source(SourceName.TRUST, telemetry)
        telemetry.observe(metrics.CRL_REVOKED, self._revoked)
        telemetry.observe(metrics.CRL_NEXT_UPDATE, self._next_updates)

    def start(self) -> None:
        """Read the files for the first time."""
        stamp = self._source.stamp()
        with self._reads.read():
            read = self._source.read()
        self._accept(read)
        self._stamp, self._in_force = stamp, (self.trust, self._times_learned)

    async def run(self) -> None:
        """Check the files until cancelled."""
        await self._give_to_charon()
        while True:
            await self._requested.wait(within=INTERVAL, then=0)
            await self.check()

    async def check(self) -> None:
        """Read the files if one has changed, and put their contents in force."""
        async with self._checking:
            await self._check()

    async def _check(self) -> None:
        source, reloaded, times_learned = self._source, self._reloaded, self._times_learned
        try:
            stamp = await asyncio.to_thread(source.stamp)
            if stamp == self._stamp:
                return
            with self._reads.read():
                read = await asyncio.to_thread(source.read)
        except Exception:
            self._call(reloaded)  # a failed read must not keep the former policy in force
            raise
        # By now there may be another source; or these files are half written, and are read again.
        if source is not self._source or (reloaded is None and self._is_doubtful(read, stamp)):
            return
        self._accept(read)
        if (self.trust, times_learned) == self._in_force:
            self._call(reloaded)
        else:
            await self._put_in_force(reloaded)
            self._in_force = self.trust, times_learned
        if source is self._source:
            self._stamp = stamp if times_learned == self._times_learned else None

    async def _put_in_force(self, reloaded: Callback | None) -> None:
        log.info("trust_changed", authorities=len(self.trust.authorities),
                 revoked={crl.issuer: len(crl.serials) for crl in self.trust.crls})  # fmt: skip
        # charon first: a peer whose IKE_SA ends now must not return because charon has an older CRL.
        await self._give_to_charon()
        if not self._call(reloaded):
            self._changed(self.trust)

    def _is_doubtful(self, read: TrustRead, stamp: Hashable) -> bool:
        """Tell whether CAs are missing since the last check: their file may be half written."""
        lost = {one.fingerprint for one in self.trust.authorities} - {
            one.fingerprint for one in read.trust.authorities
        }
        changed = stamp != self._doubtful_stamp
        doubtful = self._in_force is not None and bool(lost) and changed and self._doubts < PATIENCE
        self._doubtful_stamp, self._doubts = (stamp, self._doubts + 1) if doubtful else (None, 0)
        return doubtful

    def _call(self, reloaded: Callback | None) -> bool:
        """Call the callback of ``reload`` with the trust, once; tell whether there was one."""
        if reloaded is None:
            return False
        if self._reloaded is reloaded:
            self._reloaded = None
        reloaded(self.trust)
        return True

    async def _give_to_charon(self) -> None:
        """Give charon the CRLs. Never raises: the agent uses the CRLs even if charon has none."""
        try:
            await self._load_crls(self.crls)
        except Exception:
            log.exception("crls_not_given_to_charon", crls=len(self.crls),
                          consequence="the agent denies revoked peers, charon may let them in")  # fmt: skip

    @property
    def is_reloading(self) -> bool:
        """Tell whether a new policy waits for its files."""
        return self._reloaded is not None

    def reload(self, source: TrustFilesReader, reloaded: Callback) -> None:
        """Read other files from now on, and call ``reloaded`` with their contents, in place of ``changed``.

        A policy and its files come into force together; otherwise every peer would be denied in between. If the files
        cannot be read in time, ``reloaded`` is called with the former trust.
        """
        self._source, self._stamp, self._reloaded = source, None, reloaded
        self._requested.set(urgent=True)
        asyncio.get_running_loop().call_later(RELOAD_TIMEOUT, self._give_up, reloaded)

    def _give_up(self, reloaded: Callback) -> None:
        if self._reloaded is reloaded:
            log.error("trust_not_read", why=f"reading took longer than {RELOAD_TIMEOUT:g} s",
                      consequence="the new policy is in force with the former CAs and CRLs")  # fmt: skip
            self._call(reloaded)

    async def learn(self, certificates: Iterable[bytes]) -> None:
        """Learn the intermediate CAs among certificates (DER) that charon has, and put them in force at once.

        One may have issued and revoked a CA in ``policy.ca_certificates`` that was a trust anchor until now.
        """
        if self._source.learn(certificates):
            self._times_learned, self._stamp = self._times_learned + 1, None
            await self.check()

    async def refusal(self, crls: tuple[Crl, ...]) -> Refusal | None:
        """Return why one of these CRLs, in a file, would not be used; ``None`` if all would be."""
        async with self._checking:
            await self._check()  # what was kept a moment ago counts too
            return await asyncio.to_thread(self._source.refusal, crls)

    def _accept(self, read: TrustRead) -> None:
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
        for crl in self.trust.crls:  # a CA with several keys has several CRLs
            counts[(crl.issuer,)] = counts.get((crl.issuer,), 0) + len(crl.serials)
        return counts

    def _next_updates(self) -> Samples:
        first: dict[tuple[str, ...], float] = {}
        for crl in self.trust.crls:
            if crl.next_update is not None:
                due = crl.next_update.timestamp()
                first[(crl.issuer,)] = min(due, first.get((crl.issuer,), due))
        return first
