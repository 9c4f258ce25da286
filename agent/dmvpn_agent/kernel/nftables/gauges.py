"""The metrics that are read from the table."""

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables import redirect_rule
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.runtime.telemetry import Telemetry


def observe_table(telemetry: Telemetry, table: TableReconciler) -> None:
    """Export whether the table is in place, and what its counters have counted."""
    telemetry.observe(metrics.NFTABLES_INSTALLED, lambda: table.installed)
    if table.settings.redirect:
        telemetry.observe(metrics.REDIRECT_INSTALLED, lambda: table.installed)
    telemetry.observe(metrics.REDIRECT_PACKETS, lambda: table.totals.total(redirect_rule.COUNTER).packets)
