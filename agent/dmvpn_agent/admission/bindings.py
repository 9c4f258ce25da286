"""Follows nhrpd's cache.

nhrpd has no event for a binding that ends. Therefore the agent reads nhrpd's cache at intervals, and soon after
anything that may have changed it, such as a new event connection: nhrpd opens one after it has read its
configuration. A starting nhrpd cannot always be read, so a failed read is repeated soon. A peer that is no longer in
the cache keeps its neighbor and filter for the linger time; then the agent removes it.

The cache has a table for IPv4 and one for IPv6 protocol addresses. While one cannot be read, no peer of that IP
version is removed.

nhrpd does not ask again about a binding. If the agent's store was lost, the bindings of unknown peers are judged.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from dmvpn_agent.addresses import IP_VERSIONS, Address
from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.clocks import Uptime
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.source import Source, SourceName
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

log = structlog.get_logger()

#: Seconds after a failed read until the next one.
RETRY_INTERVAL = 2.0


class NhrpdUnavailable(Exception):
    """A table of nhrpd's cannot be read now: the bindings are unknown, which does not mean that there are none."""


class Nhrpd(Protocol):
    """The nhrpd of this node."""

    async def bindings(self, version: int, skip: Callable[[str], None]) -> Sequence[BindingRequest]:
        """Return the bindings in its table of one IP version, as requests without certificates.

        ``skip`` is called with the reason for each row that cannot be read: then the result is incomplete.
        Raises ``NhrpdUnavailable``.
        """


@dataclass(frozen=True, slots=True)
class _Table:
    """The table for one IP version, as read.

    ``whole``: no row is missing. ``trouble``: why it could not be read.
    """

    version: int
    bindings: Sequence[BindingRequest] = ()
    whole: bool = False
    trouble: str | None = None


class BindingWatch:
    """Notes which peers nhrpd has bound, and removes those that have been absent for the linger time.

    ``departed`` is called after peers were removed, ``judge_unknown`` with the bindings of unknown peers. ``bound``
    are the bound protocol addresses, ``cache`` the bindings last read. ``last_read`` is when the whole cache was read
    last, ``None`` before the first time.
    """

    def __init__(
        self,
        frr: Frr,
        nhrpd: Nhrpd,
        peers: Peers,
        telemetry: Telemetry,
        clock: Uptime,
        departed: Callable[[], None],
        judge_unknown: Callable[[Sequence[BindingRequest]], None] = lambda _: None,
    ) -> None:
        self._frr = frr
        self._nhrpd = nhrpd
        self._peers = peers
        self._telemetry = telemetry
        self._unreadable = Unreadable(telemetry)
        self._clock = clock
        self._departed = departed
        self._judge_unknown = judge_unknown
        self._trigger = DebouncedEvent()
        self._trouble = Trouble()
        self._source = Source(SourceName.NHRPD, telemetry)
        self.bound: frozenset[Address] = frozenset()
        self.cache: tuple[BindingRequest, ...] = ()
        self.last_read: timedelta | None = None
        # A thousand bindings take long to compare with the peers: not again while both stay the same.
        self._versions_read: frozenset[int] = frozenset()
        self._compared_with: int | None = None  # the version of the peers
        self._unknown: tuple[BindingRequest, ...] = ()

    @property
    def trouble(self) -> str | None:
        """Return why nhrpd's cache cannot be read now, or ``None``."""
        return self._trouble.text

    def trigger(self) -> None:
        """Read the cache soon."""
        self._trigger.set()

    def reload(self, frr: Frr) -> None:
        """Put new intervals in force."""
        self._frr = frr
        self.trigger()

    async def run(self) -> None:
        """Read the cache until cancelled."""
        while True:
            await self.refresh()
            interval = self._frr.resync_interval
            within = interval if self.trouble is None else min(interval, RETRY_INTERVAL)
            await self._trigger.wait(within=within, then=self._frr.coalesce)

    async def refresh(self) -> None:
        """Read the cache once, and remove the peers that have been absent for too long."""
        now = self._clock()
        with self._source.read():
            tables = [await self._read(version) for version in IP_VERSIONS]
        readable = self._note(tables)
        self._source.note(readable)
        if readable:
            self.last_read = now
        bindings = tuple(binding for table in tables for binding in table.bindings)
        whole = frozenset(table.version for table in tables if table.whole)
        if (bindings, whole) != (self.cache, self._versions_read):
            self._note_bindings(bindings, whole)
        if whole.issuperset(IP_VERSIONS) and self._peers.resolve_stored_conflicts(self.bound, now):
            self._departed()
        if self._peers.version != self._compared_with:
            self._unknown = self._unknown_of(bindings)
        if self._unknown:
            self._judge_unknown(self._unknown)
        if self._peers.version != self._compared_with:
            self._peers.update_bound(self.bound, now)
            self._compared_with = self._peers.version
            self._unknown = self._unknown_of(self._unknown)  # without those that were accepted just now
        gone = self._peers.remove_absent(timedelta(seconds=self._frr.linger), now, whole)
        self._telemetry.increment(metrics.PEER_DEPARTURES, "left", by=len(gone))
        if gone:
            self._departed()

    def _unknown_of(self, bindings: Iterable[BindingRequest]) -> tuple[BindingRequest, ...]:
        return tuple(one for one in bindings if one.protocol_address not in self._peers)

    def _note_bindings(self, bindings: tuple[BindingRequest, ...], whole: frozenset[int]) -> None:
        """Note another content of the cache; ``whole``: the IP versions whose table was read without a gap."""
        # A missing peer may be in a table or row that cannot be read: it does not count as absent.
        unread = (address for address in self.bound if address.version not in whole)
        self.bound = frozenset((*(binding.protocol_address for binding in bindings), *unread))
        self.cache, self._versions_read, self._compared_with = bindings, whole, None

    async def _read(self, version: int) -> _Table:
        skipped: list[str] = []
        try:
            bindings = await self._nhrpd.bindings(version, skipped.append)
        except NhrpdUnavailable as error:
            return _Table(version, trouble=str(error))
        for why in skipped:
            self._unreadable.skip(ItemSource.NHRP_CACHE, why, why)
        return _Table(version, bindings, whole=not skipped)

    def _note(self, tables: Iterable[_Table]) -> bool:
        """Count a read, and log a new trouble; return whether every table could be read."""
        troubles = dict.fromkeys(table.trouble for table in tables if table.trouble is not None)
        self._telemetry.increment(metrics.CACHE_READS, "failed" if troubles else "read")
        if not troubles:
            self._trouble.over()
        elif self._trouble.is_new("; ".join(troubles)):
            log.warning("nhrpd_unavailable", why=self.trouble)
        return not troubles
