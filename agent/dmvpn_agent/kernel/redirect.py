"""Keeps the redirect rule in place, also after an operator or another program flushes it."""

from typing import Protocol

import structlog

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nft import ShownTable
from dmvpn_agent.kernel.redirect_rule import RedirectRule
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

CHECK_INTERVAL = 15.0


class FirewallError(Exception):
    """nft cannot be run or refused the rule; the text has its message."""


class Firewall(Protocol):
    """The agent's nftables table on this node."""

    async def show(self) -> ShownTable | None:
        """Return the agent's table, ``None`` if there is none. Raises ``FirewallError``."""

    async def install(self, rule: RedirectRule) -> None:
        """Replace the agent's table. Raises ``FirewallError``."""


class RedirectKeeper:
    """Compares the agent's table with its content right after it was written, and writes it again if it differs.

    With ``dry_run`` it writes nothing and logs when it would.
    """

    def __init__(
        self, rule: RedirectRule, firewall: Firewall, telemetry: Telemetry, *, dry_run: bool = False
    ) -> None:
        self._rule = rule
        self._firewall = firewall
        self._telemetry = telemetry
        self._dry_run = dry_run
        self._dry_run_report = Trouble()
        self._trigger = DebouncedEvent()
        self._written: str | None = None
        self._trouble = Trouble()
        self.installed = False
        self.packets = 0

    def trigger(self) -> None:
        """Request a check now, because something in nftables changed."""
        self._trigger.set()

    def reload(self, rule: RedirectRule) -> None:
        """Put a new rule in force."""
        if rule != self._rule:
            self._rule, self._written = rule, None
            self.trigger()

    async def run(self) -> None:
        """Check the rule until cancelled."""
        while True:
            try:
                await self._check()
                self._trouble.over()
            except FirewallError as error:
                self.installed = False
                self._telemetry.increment(metrics.REDIRECT_FAILURES)
                if self._trouble.is_new(error):
                    log.error("redirect_rule_failed", why=self._trouble.text)
            await self._trigger.wait(within=CHECK_INTERVAL)

    async def _check(self) -> None:
        shown = await self._firewall.show()
        if self._dry_run:
            self._log_dry_run(shown)
            return
        if shown is None or shown.content != self._written:
            cause = "start" if self._written is None else "missing" if shown is None else "changed"
            rule = self._rule
            await self._firewall.install(rule)
            shown = await self._firewall.show()
            if shown is None:
                raise FirewallError("nft accepted the redirect rule, but does not show it")
            self._written = shown.content if rule is self._rule else None  # None after a reload in the meantime
            self._telemetry.increment(metrics.REDIRECT_INSTALLS, cause)
            (log.info if cause == "start" else log.warning)("redirect_rule_installed", cause=cause)
        self.installed, self.packets = True, shown.packets

    def _log_dry_run(self, shown: ShownTable | None) -> None:
        self.installed, self.packets = shown is not None, shown.packets if shown else 0
        if self._dry_run_report.is_new("missing" if shown is None else shown.content):
            # How nft shows the rule is unknown until it is written, so an existing table may be right already.
            log.info("would_install_redirect_rule", table="missing" if shown is None else "there, and replaced")
