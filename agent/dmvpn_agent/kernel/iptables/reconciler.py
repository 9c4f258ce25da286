"""Keeps the agent's chains of iptables and ip6tables as desired, also after another program flushes or edits them."""

from typing import Protocol

import structlog

from dmvpn_agent.addresses import IP_VERSIONS
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.iptables import plan
from dmvpn_agent.kernel.iptables.chain import REMEDY, Chain, ShownChain, desired_chain, matches
from dmvpn_agent.kernel.iptables.plan import Written, cause_to_write
from dmvpn_agent.kernel.iptables.program import IptablesError
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.nftables.shown_table import Count
from dmvpn_agent.kernel.nftables.totals import Totals
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between two checks: the kernel does not notify of changes to legacy tables.
CHECK_INTERVAL = 2.0
#: Seconds between two checks while no chain is desired, and the longest wait after failures.
IDLE_INTERVAL, LONGEST_RETRY = 3600.0, 15.0


class Chains(Protocol):
    """The port to iptables. Each method may raise ``IptablesError``, except ``leftover``."""

    async def show(self, version: int) -> ShownChain | None:
        """Return the chain for an IP version, ``None`` if there is none."""

    async def apply(self, version: int, script: str) -> None:
        """Apply commands in one transaction."""

    async def leftover(self, version: int) -> ShownChain | None:
        """Return a chain that is there although none is desired."""


class ChainReconciler:
    """Compares each chain with its content right after it was written, and repairs it.

    With ``dry_run`` the reconciler writes nothing and logs when it would. ``installed``: whether all chains were as
    desired at the last check. Packets are counted by the names of nftables' counters.
    """

    def __init__(
        self, settings: ChainSettings, chains: Chains, telemetry: Telemetry, *, dry_run: bool = False
    ) -> None:
        self.settings = settings
        self._chains = chains
        self._telemetry = telemetry
        self._dry_run = dry_run
        self._trigger = DebouncedEvent()
        self._written: dict[int, Written] = {}
        self._troubles = {version: Trouble() for version in IP_VERSIONS}
        self._dry_run_reports = {version: Trouble() for version in IP_VERSIONS}
        self._backoff = Backoff(CHECK_INTERVAL, LONGEST_RETRY)
        self._totals = {version: Totals() for version in IP_VERSIONS}
        self.installed = False

    def trigger(self) -> None:
        """Request a check now."""
        self._trigger.set()

    def reload(self, settings: ChainSettings) -> None:
        """Put new settings in force."""
        if settings != self.settings:
            self.settings = settings
            self.trigger()

    def total(self, counter: str) -> Count:
        """Return what a counter has counted since the agent started, of both IP versions."""
        totals = [totals.total(counter) for totals in self._totals.values()]
        return Count(sum(one.packets for one in totals), sum(one.bytes for one in totals))

    async def run(self) -> None:
        """Check the chains until cancelled."""
        while True:
            good = all([await self._checked(version) for version in IP_VERSIONS])
            self.installed = good and self.settings.keeps_chain
            if good:
                self._backoff.succeeded()
                wait = CHECK_INTERVAL if self.settings.keeps_chain else IDLE_INTERVAL
            else:
                wait = self._backoff.failed()
            await self._trigger.wait(within=wait)

    async def _checked(self, version: int) -> bool:
        """Check one chain; return whether it is as desired."""
        try:
            good = await self._check(version)
        except IptablesError as error:
            self._telemetry.increment(metrics.IPTABLES_FAILURES)
            if self._troubles[version].is_new(error):
                log.error("iptables_failed", version=version, why=self._troubles[version].text, do=REMEDY)
            return False
        self._troubles[version].over()
        return good

    async def _check(self, version: int) -> bool:
        wanted = desired_chain(self.settings, version)
        if wanted is None:
            await self._remove(version)
            return True
        shown = self._read(version, await self._chains.show(version))
        cause = cause_to_write(wanted, shown, self._written.get(version))
        if cause is None:
            return True
        if self._dry_run:
            if self._dry_run_reports[version].is_new(shown):
                log.info("would_write_iptables", version=version, commands=plan.replace(wanted, shown).splitlines())
            return shown is not None
        await self._write(version, wanted, shown, cause)
        return True

    def _read(self, version: int, shown: ShownChain | None) -> ShownChain | None:
        counts = shown.counts if shown else {}
        if version in self._written:
            self._totals[version].update(counts)
        else:
            self._totals[version].begin(counts)  # an earlier process has counted these
        return shown

    async def _write(self, version: int, wanted: Chain, shown: ShownChain | None, cause: str) -> None:
        try:
            await self._chains.apply(version, plan.replace(wanted, shown))
        except IptablesError:
            now = await self._chains.show(version)
            if now == shown:
                raise
            await self._chains.apply(version, plan.replace(wanted, now))  # it was changed since it was read
        after = await self._chains.show(version)
        if after is None or not matches(wanted, after):
            raise IptablesError("iptables-restore accepted the chain, but iptables-save does not show it")
        self._written[version] = Written(wanted, after)
        self._read(version, after)
        self._telemetry.increment(metrics.IPTABLES_WRITES, cause)
        (log.warning if cause in {"missing", "changed"} else log.info)(
            "iptables_written", version=version, cause=cause
        )

    async def _remove(self, version: int) -> None:
        shown = await self._chains.leftover(version)
        if shown is None:
            return
        if self._dry_run:
            log.info("would_remove_iptables", version=version)
            return
        await self._chains.apply(version, plan.remove(shown))
        self._written.pop(version, None)
        log.info("iptables_removed", version=version, why="no rule in it is configured")
