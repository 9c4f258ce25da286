"""Keeps the agent's table as its sections say, also after an operator or another program flushes or edits it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables import script
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.element_writer import ElementWriter
from dmvpn_agent.kernel.nftables.firewall import Firewall, FirewallError, TableChangedError
from dmvpn_agent.kernel.nftables.plan import (
    ChangeElements,
    Rewrite,
    Written,
    is_new,
    plan,
    replace_rules,
)
from dmvpn_agent.kernel.nftables.refused import RefusedSections
from dmvpn_agent.kernel.nftables.section import Elements, Section, SectionName
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.shown_table import ShownTable
from dmvpn_agent.kernel.nftables.source_filter import MAPS
from dmvpn_agent.kernel.nftables.totals import PeerTotals, Totals
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.backoff import Backoff, Trouble, Troubles
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.source import Source, SourceName
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between two checks without an event, and until a failed one is repeated for the first time.
CHECK_INTERVAL, FIRST_RETRY_INTERVAL = 15.0, 0.5
#: Seconds until late rules follow: packets that the kernel had already taken in when the marking came have no mark.
UNDER_WAY = 0.2
#: Checks that may end early because another program changes the table, before that is a failure.
PATIENCE = 3
#: How many lines of nft's input a dry run logs; ``plan --nftables`` prints all of them.
LOGGED_COMMANDS = 200


class TableReconciler:
    """Compares the table with the sections and with its content right after it was written, and repairs it.

    ``peers`` returns the accepted peers that may send. With ``dry_run`` the reconciler writes nothing and logs when
    it would. ``shown``: the table at the last check; ``installed``: whether it was as desired then; ``in_force``: by
    which settings, ``None`` if it was not.
    """

    def __init__(
        self,
        settings: TableSettings,
        peers: Callable[[], tuple[Peer, ...]],
        firewall: Firewall,
        telemetry: Telemetry,
        *,
        dry_run: bool = False,
    ) -> None:
        self.settings = settings
        self._peers = peers
        self._firewall = firewall
        self._telemetry = telemetry
        self._dry_run = dry_run
        self._dry_run_report = Trouble()
        self._trigger = DebouncedEvent()
        self._written: Written | None = None
        self._computed: tuple[object, tuple[Section, ...]] = None, ()
        self._trouble = Trouble()
        self._backoff = Backoff(FIRST_RETRY_INTERVAL, CHECK_INTERVAL)
        self._source = Source(SourceName.NFTABLES, telemetry)
        self._troubles = Troubles[str]()
        self.refused = RefusedSections(firewall)
        # How many events called for a reading, now and at the last reading; how many of them were notifications from
        # the kernel, now and when that of the last write has come.
        self._events, self._events_at_reading, self._notified, self._notified_of_write = 1, 0, 0, 0
        self._elements = ElementWriter(firewall, telemetry, self._is_overtaken)
        self.totals = Totals()
        self.peer_totals = PeerTotals()
        self.shown: ShownTable | None = None
        self.installed = False
        self.in_force: TableSettings | None = None

    def trigger(self) -> None:
        """Request a check now that reads the table."""
        self._events += 1
        self._trigger.set()

    def table_changed(self) -> None:
        """Note that the kernel notified of a change of the table."""
        self._notified += 1
        self.trigger()

    def peers_changed(self) -> None:
        """Request a check now, because the peers changed; it reads the table only if that may have changed too."""
        self._trigger.set()

    @property
    def _is_current(self) -> bool:
        """Tell whether the last reading shows the table as it is: the kernel notifies, and there was no change."""
        return self._events_at_reading == self._events and self._notified >= self._notified_of_write

    def reload(self, settings: TableSettings) -> None:
        """Put new settings in force."""
        if settings != self.settings:
            self.settings = settings
            self.refused.forget()
            self.trigger()

    def has(self, section: SectionName) -> bool:
        """Tell whether the table is as desired, with this section if it is configured."""
        return self.installed and section not in self.refused.why

    async def run(self) -> None:
        """Check the table until cancelled."""
        while True:
            wait = CHECK_INTERVAL
            try:
                with self._source.read():
                    await self._check()
                self._backoff.succeeded()
                self._trouble.over()
            except FirewallError as error:
                self._events += 1
                if not self._is_overtaken(error):
                    self._failed(error)
                wait = self._backoff.failed()
            if not await self._trigger.wait(within=wait):
                self._events += 1

    def _is_overtaken(self, error: FirewallError) -> bool:
        """Tell whether the table was changed during the check, so that the next check has to read it first."""
        return isinstance(error, TableChangedError) and self._backoff.failures < PATIENCE

    def _failed(self, error: FirewallError) -> None:
        self.installed, self.shown, self.in_force = False, None, None
        if not self.settings.keeps_table:
            return  # such a node needs no nft
        self._telemetry.increment(metrics.NFTABLES_FAILURES)
        if self._trouble.is_new(error):
            log.error(
                "nftables_failed",
                why=self._trouble.text,
                consequence="packets that a peer may not send can pass" if self.settings.drops else "",
                do="install nftables; the kernel needs nf_tables, and nft_fib_inet for the source filter",
            )

    async def _check(self) -> None:
        shown = self.shown
        if not self._is_current:
            shown = await self._read()
            await self.refused.retry()
        settings = self.refused.without(self.settings)  # a reload may come at any await
        sections = await self._sections(shown, settings)
        todo = plan(sections, shown, self._written)
        if todo is None:
            self.installed = True
        elif self._dry_run:
            self.installed = shown is not None
            self._log_dry_run(todo, sections, shown)
        else:
            try:
                await self._apply(todo, sections, shown)
            except FirewallError as error:
                if self._is_overtaken(error) or not await self.refused.find(sections, shown):
                    raise
                self.trigger()
                return
        self.in_force = settings if self.installed and not (self._dry_run and todo) else None

    async def _sections(self, shown: ShownTable | None, settings: TableSettings) -> tuple[Section, ...]:
        present: Elements = shown.members if shown else {}
        inputs = settings, self._peers(), {name: present.get(name) for name in MAPS}
        if inputs == self._computed[0]:
            return self._computed[1]
        # A thread, because a thousand peers take 30 ms: the agent answers nhrpd in the meantime.
        sections = await asyncio.to_thread(desired_sections, settings, inputs[1], present)
        self._computed = inputs, sections
        for trouble in self._troubles.new(text for section in sections for text in section.troubles):
            log.error("nftables_incomplete", why=trouble, consequence="packets of this peer count as spoofed")
        return sections

    async def _read(self) -> ShownTable | None:
        events = self._events
        shown = self.shown = await self._firewall.show()
        self._events_at_reading = events
        counts = shown.counts if shown else {}
        if self._written is None:
            self.totals.begin(counts)  # an earlier process has counted these
        else:
            self.peer_totals.update(self.totals.update(counts))
        return shown

    async def _apply(
        self, todo: Rewrite | ChangeElements, sections: tuple[Section, ...], shown: ShownTable | None
    ) -> None:
        self._notified_of_write = self._notified + 1
        if isinstance(todo, ChangeElements):
            await self._elements.apply(todo)
        elif sections:
            await self._rewrite(todo, sections, shown)
        else:
            await self._firewall.remove()
            log.info("nftables_removed", why="no section is configured")
        self._assign(sections)
        shown = await self._read()
        if sections and shown is None:
            raise FirewallError("nft accepted the table, but does not show it")
        if isinstance(todo, Rewrite):
            self._written = Written(sections, shown.content) if shown else None
        self.installed = shown is not None

    def _assign(self, sections: tuple[Section, ...]) -> None:
        for owners in (section.owners for section in sections if section.owners):
            self.peer_totals.assign(owners)

    async def _rewrite(self, todo: Rewrite, sections: tuple[Section, ...], shown: ShownTable | None) -> None:
        if shown is None or not await self._replace_rules(sections, shown):
            await self._firewall.install(tuple(replace(section, late="") for section in sections))
            await self._add_late(sections)
        self._telemetry.increment(metrics.NFTABLES_WRITES, todo.cause)
        (log.warning if todo.cause in {"missing", "changed"} else log.info)(
            "nftables_written", cause=todo.cause, sections=[str(name) for name in todo.sections]
        )

    async def _replace_rules(self, sections: tuple[Section, ...], shown: ShownTable) -> bool:
        """Replace the rules alone, so that no packet meets a set that is still empty. Tell whether nft accepts it."""
        new = tuple(section for section in sections if is_new(section, shown))
        now = tuple(replace(section, late="") if section in new else section for section in sections)
        try:
            await self._firewall.change(replace_rules(now, shown))
        except FirewallError as error:
            if self._is_overtaken(error):
                raise
            return False
        await self._add_late(new)
        return True

    async def _add_late(self, sections: tuple[Section, ...]) -> None:
        if late := "".join(section.late for section in sections):
            await asyncio.sleep(UNDER_WAY)
            await self._firewall.change(late)

    def _log_dry_run(
        self, todo: Rewrite | ChangeElements, sections: tuple[Section, ...], shown: ShownTable | None
    ) -> None:
        if isinstance(todo, ChangeElements):
            commands = todo.script
        else:
            commands = script.render(sections) if shown is None else replace_rules(sections, shown)
        # How nft shows the table is unknown until it is written, so an existing table may be right already.
        if self._dry_run_report.is_new(("missing" if shown is None else shown.content, commands)):
            lines = commands.splitlines()
            log.info("would_write_nftables", table="missing" if shown is None else "there, and replaced",
                     commands=lines[:LOGGED_COMMANDS], more=max(0, len(lines) - LOGGED_COMMANDS))  # fmt: skip
