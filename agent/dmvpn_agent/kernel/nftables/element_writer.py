"""Writes changes of elements: in one transaction, or what nft takes of them."""

from collections.abc import Callable

import structlog

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables.firewall import Firewall, FirewallError, FirewallSlowError
from dmvpn_agent.kernel.nftables.plan import ChangeElements
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()


class ElementWriter:
    """``is_overtaken``: whether an error says that the table changed meanwhile, and has to be read first."""

    def __init__(
        self, firewall: Firewall, telemetry: Telemetry, is_overtaken: Callable[[FirewallError], bool]
    ) -> None:
        self._firewall = firewall
        self._telemetry = telemetry
        self._is_overtaken = is_overtaken
        self._refills = False

    async def apply(self, change: ChangeElements) -> None:
        """Apply a change; if nft refuses it, apply all parts of it that nft does not refuse, removals first.

        Raises ``FirewallError`` for what was refused. Without its element a packet is not accepted.
        """
        try:
            await self._write(change)
        except FirewallError as error:
            if self._is_overtaken(error) or isinstance(error, FirewallSlowError):
                raise  # nft would refuse each part too, one after the other
            if not (parts := change.parts()):
                raise FirewallError(f"{error} ({change.script.strip()})") from None
            refused: FirewallError | None = None
            for part in parts:
                try:
                    await self.apply(part)
                except FirewallError as cause:
                    refused = cause
            if refused:
                raise refused from None

    async def _write(self, change: ChangeElements) -> None:
        """Write a change; sets are filled anew from the first time on that nft takes too long to remove elements."""
        refills = self._refills and bool(change.removed)
        try:
            await self._firewall.change(change.refilling if refills else change.script)
        except FirewallSlowError as error:
            if refills or not change.removed:
                raise
            self._refills = True
            log.warning("nft_is_slow", why=str(error),
                        consequence="from now on the agent fills a set anew to remove elements from it, and the set's"
                        " counters lose some packets each time",
                        do="nft reads the interval sets of all tables first: make those of other programs"
                        " smaller")  # fmt: skip
            await self._firewall.change(change.refilling)
        self._telemetry.increment(metrics.NFTABLES_WRITES, "elements")
        log.debug("nftables_elements_changed", elements=change.count)
