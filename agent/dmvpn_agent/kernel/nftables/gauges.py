"""The metrics that are read from the table."""

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables import redirect_rule
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.source_filter import RECEIVED, SPOOFED, UNKNOWN_COUNTER, FilterMode
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def _source_filter(table: TableReconciler) -> Samples:
    settings = table.settings.source_filter
    now = settings.mode if settings and table.installed else FilterMode.OFF
    return {(str(mode),): float(mode is now) for mode in FilterMode}


def _packets(table: TableReconciler, what: str) -> Samples:
    return {(str(peer),): count.packets for peer, count in table.peer_totals.of(what).items()}


def _bytes(table: TableReconciler) -> Samples:
    return {(str(peer),): count.bytes for peer, count in table.peer_totals.of(RECEIVED).items()}


def observe_table(telemetry: Telemetry, table: TableReconciler) -> None:
    """Export whether the table is in place, and what its counters have counted."""
    telemetry.observe(metrics.NFTABLES_INSTALLED, lambda: table.installed)
    if table.settings.redirect:
        telemetry.observe(metrics.REDIRECT_INSTALLED, lambda: table.installed)
    telemetry.observe(metrics.REDIRECT_PACKETS, lambda: table.totals.total(redirect_rule.COUNTER).packets)
    telemetry.observe(metrics.SOURCE_FILTER, lambda: _source_filter(table))
    telemetry.observe(metrics.PEER_PACKETS, lambda: _packets(table, RECEIVED))
    telemetry.observe(metrics.PEER_BYTES, lambda: _bytes(table))
    telemetry.observe(metrics.PEER_SPOOFED, lambda: _packets(table, SPOOFED))
    telemetry.observe(metrics.UNKNOWN_SENDER, lambda: table.totals.total(UNKNOWN_COUNTER).packets)
