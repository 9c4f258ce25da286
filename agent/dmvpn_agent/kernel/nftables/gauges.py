"""The metrics that are read from the table."""

from collections.abc import Callable

from dmvpn_agent.addresses import Address
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables import gre_guard, group_rules, mss_clamp
from dmvpn_agent.kernel.nftables.gre_guard import GreGuard
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.section import SectionName
from dmvpn_agent.kernel.nftables.source_filter import RECEIVED, SPOOFED, UNKNOWN_COUNTER, FilterMode, SourceFilter
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def _modes(settings: SourceFilter | GreGuard | None) -> Samples:
    now = settings.mode if settings else FilterMode.OFF
    return {(str(mode),): float(mode is now) for mode in FilterMode}


def _clear_gre(table: TableReconciler) -> Samples:
    return {(way,): table.totals.total(name).packets for way, name in gre_guard.COUNTERS.items()}


def _missing(table: TableReconciler) -> Samples:
    wanted = {
        SectionName.SOURCE_FILTER: table.settings.source_filter is not None,
        SectionName.GUARD: table.settings.guard is not None,
    }
    return {(str(name),): float(on and not table.has(name)) for name, on in wanted.items()}


def _groups(table: TableReconciler) -> Samples:
    groups = table.settings.groups
    if groups is None:
        return {}
    counters = {
        (str(number), "accept" if rule.accept else "drop"): group_rules.counter(number)
        for number, rule in enumerate(groups.rules, 1)
    }
    counters |= {} if groups.accept else {("0", "drop"): group_rules.DEFAULT_COUNTER}
    return {labels: table.totals.total(name).packets for labels, name in counters.items()}


def observe_table(telemetry: Telemetry, table: TableReconciler, name_of: Callable[[Address], str] = str) -> None:
    """Export whether the table is in place, and what its counters have counted.

    ``name_of`` returns the name of the peer that has a protocol address; several may have the same one.
    """

    def by_name(what: str, attribute: str) -> Samples:
        samples: Samples = {}
        for address, count in table.peer_totals.of(what).items():
            label = (name_of(address),)
            samples[label] = samples.get(label, 0) + getattr(count, attribute)
        return samples

    telemetry.observe(metrics.NFTABLES_INSTALLED, lambda: table.installed and not table.refused.why)
    telemetry.observe(metrics.FILTER_MISSING, lambda: _missing(table))
    telemetry.observe(metrics.SOURCE_FILTER, lambda: _modes(table.in_force.source_filter if table.in_force else None))
    telemetry.observe(metrics.GRE_GUARD, lambda: _modes(table.in_force.guard if table.in_force else None))
    telemetry.observe(metrics.CLEAR_GRE, lambda: _clear_gre(table))
    telemetry.observe(metrics.MSS_CLAMPED, lambda: table.totals.total(mss_clamp.COUNTER).packets)
    telemetry.observe(metrics.PEER_PACKETS, lambda: by_name(RECEIVED, "packets"))
    telemetry.observe(metrics.PEER_BYTES, lambda: by_name(RECEIVED, "bytes"))
    telemetry.observe(metrics.PEER_SPOOFED, lambda: by_name(SPOOFED, "packets"))
    telemetry.observe(metrics.GROUP_PACKETS, lambda: _groups(table))
    telemetry.observe(metrics.UNKNOWN_SENDER, lambda: table.totals.total(UNKNOWN_COUNTER).packets)
