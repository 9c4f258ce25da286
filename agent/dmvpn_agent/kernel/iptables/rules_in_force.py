"""The rules that are in nftables or in iptables: whether they are in place, and what they have counted."""

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.iptables.reconciler import ChainReconciler
from dmvpn_agent.kernel.nftables import multicast_rule, redirect_rule
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.section import SectionName
from dmvpn_agent.runtime.telemetry import Telemetry


class RulesInForce:
    """One of ``table`` and ``chain`` has them; which one may change with a reload."""

    def __init__(self, table: TableReconciler, chain: ChainReconciler) -> None:
        self._table = table
        self._chain = chain

    @property
    def redirect(self) -> bool | None:
        """Tell whether the redirect rule is in place; ``None`` if there is to be none."""
        if self._chain.settings.redirect:
            return self._chain.installed
        return self._table.has(SectionName.REDIRECT) if self._table.settings.redirect else None

    @property
    def multicast(self) -> bool | None:
        """Tell whether the multicast rule is in place; ``None`` if there is to be none."""
        if self._chain.settings.multicast:
            return self._chain.installed
        return self._table.has(SectionName.MULTICAST) if self._table.settings.multicast else None

    def packets(self, counter: str) -> int:
        """Return how many packets a rule has counted since the agent started."""
        return self._table.totals.total(counter).packets + self._chain.total(counter).packets

    def observe(self, telemetry: Telemetry) -> None:
        """Export all of it."""
        telemetry.observe(metrics.IPTABLES_INSTALLED, lambda: self._chain.installed)
        if self.redirect is not None:
            telemetry.observe(metrics.REDIRECT_INSTALLED, lambda: bool(self.redirect))
        telemetry.observe(metrics.REDIRECT_PACKETS, lambda: self.packets(redirect_rule.COUNTER))
        telemetry.observe(metrics.MULTICAST_INSTALLED, lambda: bool(self.multicast))
        telemetry.observe(metrics.MULTICAST_PACKETS, lambda: self.packets(multicast_rule.COUNTER))
