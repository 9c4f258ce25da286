"""The metrics of all of charon's SAs; ``view`` has those of single peers."""

from collections import Counter
from collections.abc import Iterable

from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.algorithms import label
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def observe_sas(telemetry: Telemetry, watch: CharonWatch) -> None:
    """Export the IKE_SAs, their CHILD_SAs and the totals."""
    totals = watch.totals

    def sas() -> tuple[IkeSa, ...]:
        return tuple(watch.our_sas())

    telemetry.observe(metrics.VICI_CONNECTED, lambda: watch.connected)
    telemetry.observe(metrics.IKE_SAS, lambda: _states(watch.ike_sas))
    telemetry.observe(metrics.CHILD_SAS, lambda: _states(child for sa in watch.ike_sas for child in sa.children))
    telemetry.observe(metrics.IPSEC_BYTES, lambda: _directions(totals.all_traffic[0::2]))
    telemetry.observe(metrics.IPSEC_PACKETS, lambda: _directions(totals.all_traffic[1::2]))
    telemetry.observe(metrics.IPSEC_EVENTS, lambda: {(str(kind),): totals.all_events[kind] for kind in SaEventKind})
    telemetry.observe(metrics.SA_ALGORITHMS, lambda: _algorithms(sas()))
    telemetry.observe(metrics.IKE_SAS_NAT, lambda: {
        ("local",): sum(sa.nat_local for sa in sas()), ("remote",): sum(sa.nat_remote for sa in sas()),
    })  # fmt: skip


def _states(sas: Iterable[IkeSa | ChildSa]) -> Samples:
    return {(state,): count for state, count in Counter(sa.state for sa in sas).items()}


def _directions(counts: tuple[int, ...]) -> Samples:
    return {("in",): counts[0], ("out",): counts[1]}


def _algorithms(sas: Iterable[IkeSa]) -> Samples:
    counts: Counter[tuple[str, ...]] = Counter()
    for sa in sas:
        used = [("ike", sa.algorithms), *(("child", child.algorithms) for child in sa.children if child.installed)]
        counts.update((kind, *label(name)) for kind, algorithms in used for name in algorithms)
    return dict(counts)
