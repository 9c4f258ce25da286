"""Gives the table what the GRE guard depends on: the GRE interfaces of this node, and whether the kernel knows IPsec.

nft refuses the whole table for one expression that the kernel lacks, so the guard is tried alone first.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from dmvpn_agent.kernel.events import KernelEvent, LinkEvent
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.runtime.backoff import Trouble

log = structlog.get_logger()

#: Seconds to wait for the first reading of the interfaces before the table is written without them.
PATIENCE = 5.0


class Table(Protocol):
    """What keeps the table."""

    def reload(self, settings: TableSettings) -> None:
        """Put new settings in force."""

    async def run(self) -> None:
        """Keep the table until cancelled."""


class Checker(Protocol):
    """nftables."""

    async def refusal(self, section: Section) -> str:
        """Return why nft refuses this section, but not others; empty if it does not. Raises ``FirewallError``."""


class GuardWatch:
    """``links``: all interfaces by name, as a ``KernelWatch`` keeps them.

    ``settings``: as configured. ``refusal``: why the guard cannot work on this kernel, as nft says it; empty if it
    can, or is off.
    """

    def __init__(
        self, settings: TableSettings, links: Mapping[str, LinkEvent], table: Table, checker: Checker
    ) -> None:
        self.settings = settings
        self._links = links
        self._table = table
        self._checker = checker
        self._read = asyncio.Event()
        self._trouble = Trouble()
        self.refusal = ""

    def kernel_changed(self, _: KernelEvent) -> None:
        """Put in force what the interfaces say now."""
        self._read.set()
        self._table.reload(self._current())

    def reload(self, settings: TableSettings) -> None:
        """Put new settings in force."""
        self.settings = settings
        self._table.reload(self._current())

    def _current(self) -> TableSettings:
        guard = self.settings.guard
        if guard is None:
            return self.settings
        seen = None if self.refusal else guard.observing(self.settings.interfaces, self._links)
        return replace(self.settings, guard=seen)

    async def run(self) -> None:
        """Keep the table until cancelled, but not before the interfaces have been read, so that no guard is lost."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._read.wait()
        except TimeoutError:
            log.warning("gre_guard_incomplete", why="the kernel's interfaces cannot be read",
                        consequence="the guard knows the configured keys only, until they can")  # fmt: skip
        await self._try()
        self._table.reload(self._current())
        await self._table.run()

    async def _try(self) -> None:
        guard = self.settings.guard
        if guard is None:
            return
        try:
            self.refusal = await self._checker.refusal(guard.section())
        except FirewallError:
            return  # nft does not work at all, as the table's own writer will report
        if self.refusal and self._trouble.is_new(self.refusal):
            log.error("gre_guard_refused", why=self.refusal, mode=str(guard.mode),
                      consequence="GRE without IPsec is neither counted nor dropped; the rest of the table works",
                      do="use Linux 5.0 or later with CONFIG_XFRM, or set gre_guard.mode to off")  # fmt: skip
