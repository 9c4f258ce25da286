"""Fetches CRLs by HTTP, at intervals, and keeps what is new where the reader of CAs and CRLs finds it.

A fetched CRL counts as one of the operator's files does, and no more: its signature must be of a known CA, and it
never goes back. What does not pass replaces nothing.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from dmvpn_agent.crls import metrics
from dmvpn_agent.crls.fetched_files import MAX_VALIDATOR, FetchedFiles, Validators
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.clocks import Clocks, in_seconds
from dmvpn_agent.runtime.http_client import HttpAnswer, HttpFailed, HttpQuestion, Limits, ask
from dmvpn_agent.runtime.telemetry import Samples, Telemetry
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509.crl import Crl, CrlError, read_crls
from dmvpn_agent.x509.trust_files import Refusal

log = structlog.get_logger()

#: The whole of a request, from the name to the last octet. A CRL of 200,000 entries has less than 8 MiB.
LIMITS = Limits(seconds=60.0, octets=8 << 20)
#: Seconds before an address that failed is asked again: at first, and at most as long as the interval, or an hour.
FIRST_RETRY, LONGEST_RETRY = 15.0, 3600.0
#: Requests are this much earlier or later than the interval says, so that not all nodes ask at once.
JITTER = 0.1
#: Seconds between two looks at the addresses, which change with the certificates.
POLL = 1.0
#: Seconds within which the first requests after the start are made.
FIRST_WITHIN = 5.0

Ask = Callable[[HttpQuestion, Limits], Awaitable[HttpAnswer]]
Check = Callable[[tuple[Crl, ...]], Awaitable[Refusal | None]]


class _NotUsable(Exception):
    """An answer is of no use; ``outcome`` is the label of the counter."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


@dataclass(slots=True)
class _Source:
    """One address: when it is asked again, in seconds of the uptime, and how it went."""

    due: float
    backoff: Backoff
    trouble: Trouble = field(default_factory=Trouble)
    succeeded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FetchReport:
    """How it went with one address. ``trouble``: what is wrong now; empty if nothing is."""

    url: str
    succeeded_at: datetime | None
    trouble: str


class CrlFetcher:
    """Fetches from the addresses of ``urls``, which is called again and again. ``interval``: in seconds.

    ``check`` tells why CRLs are not to be kept, as a file with them would be judged.
    """

    def __init__(
        self,
        urls: Callable[[], Iterable[Url]],
        interval: float,
        files: FetchedFiles,
        check: Check,
        telemetry: Telemetry,
        clocks: Clocks = Clocks(),  # noqa: B008  frozen
        ask: Ask = ask,
    ) -> None:
        self._urls = urls
        self._interval = interval
        self._files = files
        self._check = check
        self._telemetry = telemetry
        self._clocks = clocks
        self._uptime = in_seconds(clocks.uptime)
        self._ask = ask
        self._sources: dict[Url, _Source] = {}
        telemetry.expect(metrics)
        telemetry.observe(metrics.CRL_FETCHED, self._successes)

    async def run(self) -> None:
        """Fetch until cancelled."""
        while True:
            await self.fetch_due()
            await asyncio.sleep(POLL)

    def reports(self) -> tuple[FetchReport, ...]:
        """Return how it went with each address."""
        return tuple(
            FetchReport(str(url), source.succeeded_at, source.trouble.text or "")
            for url, source in tuple(self._sources.items())
        )

    async def fetch_due(self) -> None:
        """Fetch from every address whose time has come."""
        now = self._uptime()
        urls = tuple(dict.fromkeys(self._urls()))
        self._sources = {url: self._sources.get(url) or self._new_source(now) for url in urls}
        due = [(url, source) for url, source in self._sources.items() if source.due <= now]
        await asyncio.gather(*(self._fetch(url, source) for url, source in due))

    def _new_source(self, now: float) -> _Source:
        longest = min(self._interval, LONGEST_RETRY)
        backoff = Backoff(min(FIRST_RETRY, longest), longest, clock=self._uptime)
        return _Source(now + random.uniform(0, min(FIRST_WITHIN, self._interval)), backoff)  # noqa: S311

    async def _fetch(self, url: Url, source: _Source) -> None:
        try:
            outcome = await self._fetched(url)
        except _NotUsable as error:
            self._telemetry.increment(metrics.CRL_FETCHES, error.outcome)
            source.due = self._uptime() + _jittered(source.backoff.failed())
            if source.trouble.is_new(str(error)):
                log.error("crl_not_fetched", url=str(url), why=str(error), outcome=error.outcome,
                          consequence="the CRL in force stays in force; tried again")  # fmt: skip
            return
        self._telemetry.increment(metrics.CRL_FETCHES, outcome)
        source.backoff.succeeded()
        source.succeeded_at, source.due = self._clocks.now(), self._uptime() + _jittered(self._interval)
        if (trouble := source.trouble.over()) is not None:
            log.info("crl_fetched_again", url=str(url), was=trouble)

    async def _fetched(self, url: Url) -> str:
        """Fetch from one address; return the outcome. Raises ``_NotUsable``."""
        former, validators = await asyncio.to_thread(self._files.read, url)
        try:
            answer = await self._ask(HttpQuestion(url, headers=_conditions(validators)), LIMITS)
        except HttpFailed as error:
            raise _NotUsable("failed", str(error)) from error
        if answer.status == 304 and former and validators != Validators():
            return "unchanged"
        if answer.status != 200:
            raise _NotUsable("failed", f"it answered {answer.text}")
        said = Validators(_header(answer.headers, "etag"), _header(answer.headers, "last-modified"))
        if answer.body == former and said == validators:
            return "unchanged"
        await self._accept(answer.body)
        try:
            await asyncio.to_thread(self._files.keep, url, answer.body, said)
        except OSError as error:
            raise _NotUsable("not_kept", f"{error.filename or self._files.file_of(url)}: {error.strerror}; make room,"
                             " or let the agent's user write there") from error  # fmt: skip
        if answer.body == former:
            return "unchanged"
        log.info("crl_fetched", url=str(url), octets=len(answer.body), file=str(self._files.file_of(url)))
        return "new"

    async def _accept(self, body: bytes) -> None:
        """Raise ``_NotUsable`` if the reader of CAs and CRLs would not use all of it."""
        try:
            heads = await asyncio.to_thread(read_crls, body, entries=False)
            if refusal := await self._check(heads):  # strangers can send many entries, but not sign them
                raise _NotUsable("older" if refusal.is_rollback else "refused", refusal.why)
            await asyncio.to_thread(read_crls, body)
        except CrlError as error:
            raise _NotUsable("refused", f"{error}; expected CRLs in PEM or DER") from error

    def _successes(self) -> Samples:
        return {
            (str(url),): source.succeeded_at.timestamp()
            for url, source in tuple(self._sources.items())
            if source.succeeded_at
        }


def _conditions(validators: Validators) -> tuple[tuple[str, str], ...]:
    named = ("If-None-Match", validators.etag), ("If-Modified-Since", validators.last_modified)
    return tuple((name, value) for name, value in named if value)


def _header(headers: Mapping[str, str], name: str) -> str:
    """Return a field to send back; empty if it is missing, too long or not printable."""
    value = headers.get(name, "")
    return value if len(value) <= MAX_VALIDATOR and value.isascii() and value.isprintable() else ""


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  not for a secret
