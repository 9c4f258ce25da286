"""Removes neighbour entries and routes of nhrpd's that nhrpd does not know any more.

A killed nhrpd leaves its entries on the tunnel interface. The next one does not know them, and packets for a peer
that has moved go to its former NBMA address. An entry is stale if nhrpd's cache, the whole of it, has lacked its
protocol address for ``PATIENCE``, and a read of just now lacks it too: nhrpd does not restore an entry that is taken
from it. While the cache cannot be read, nothing is removed.
"""

import asyncio
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.routes.netlink_tables import RoutesError
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between two checks; fewer while an entry is suspected.
CHECK_INTERVAL, SUSPICIOUS_INTERVAL = 5.0, 1.0
#: How long the entries are not listed while the cache stays the same: nhrpd leaves one only when it forgets a peer.
#: A thousand entries take 60 ms to list.
LIST_INTERVAL = timedelta(seconds=60)
#: A peer that lost its binding registers again within this time.
PATIENCE = timedelta(seconds=30)
#: The age of a read of the cache that still counts as of just now.
FRESH = timedelta(seconds=1)


class EntryKind(StrEnum):
    """What nhrpd leaves."""

    NEIGHBOUR = "neighbour"
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry with protocol nhrp on a tunnel interface: of a neighbour, or a host route to it."""

    kind: EntryKind
    interface: str
    address: Address


class Entries(Protocol):
    """nhrpd's entries in the kernel."""

    async def list(self) -> Sequence[Entry]:
        """Return those on the tunnel interfaces. Raises ``RoutesError``."""

    async def delete(self, entry: Entry) -> None:
        """Delete one; it may be gone already. Raises ``RoutesError``."""


class Cache(Protocol):
    """nhrpd's cache as last read."""

    @property
    def last_read(self) -> timedelta | None:
        """Return when the whole of it was read, ``None`` before the first time."""

    @property
    def bound(self) -> Set[Address]:
        """Return the protocol addresses of peers in it."""

    def trigger(self) -> None:
        """Read it soon."""


class StaleEntries:
    """``clock`` is that of ``Cache.last_read``. In a ``dry_run`` the entries are only logged."""

    def __init__(
        self,
        entries: Entries,
        cache: Cache,
        telemetry: Telemetry,
        clock: Callable[[], timedelta],
        *,
        dry_run: bool = False,
    ) -> None:
        self._entries = entries
        self._cache = cache
        self._telemetry = telemetry
        self._clock = clock
        self._dry_run = dry_run
        self._trouble = Trouble()
        #: Since when a read of the cache lacked them.
        self._suspected: dict[Entry, timedelta] = {}
        self._logged: set[Entry] = set()
        self._bound: Set[Address] = frozenset()
        self._list_at = timedelta()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(SUSPICIOUS_INTERVAL if self._suspected else CHECK_INTERVAL)

    async def check(self) -> None:
        """Remove the entries that the cache has lacked for long enough."""
        if (last_read := self._cache.last_read) is None or not self._is_due():
            return
        try:
            unknown = [entry for entry in await self._entries.list() if entry.address not in self._cache.bound]
            now = self._clock()
            self._suspected = {entry: self._suspected.get(entry, now) for entry in unknown}
            if unknown:
                self._cache.trigger()
            if now - last_read > FRESH:
                return  # a peer may have registered since
            for entry in unknown:
                if last_read - self._suspected[entry] >= PATIENCE:
                    await self._remove(entry)
        except RoutesError as error:
            if self._trouble.is_new(error):
                log.warning("stale_entries_unread", why=str(error),
                            consequence="entries that a killed nhrpd left stay")  # fmt: skip
            return
        self._trouble.over()

    def _is_due(self) -> bool:
        """Tell whether an entry may be stale that was not at the last check, or one is suspected."""
        now, bound, former = self._clock(), self._cache.bound, self._bound
        self._bound = bound
        if self._suspected or now >= self._list_at or (bound is not former and bound != former):
            self._list_at = now + LIST_INTERVAL
            return True
        return False

    async def _remove(self, entry: Entry) -> None:
        about = {"kind": str(entry.kind), "interface": entry.interface, "protocol_address": str(entry.address)}
        if self._dry_run:
            if entry not in self._logged:
                self._logged.add(entry)
                log.info("would_remove_stale_entry", **about)
            return
        await self._entries.delete(entry)
        self._telemetry.increment(metrics.STALE_ENTRIES, entry.kind)
        log.info("stale_entry_removed", **about, why="nhrpd does not know it")
