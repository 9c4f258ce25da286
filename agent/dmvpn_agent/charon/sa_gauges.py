"""The metrics of charon's SAs; those of the DMVPN's SAs have at most one series a peer."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.algorithms import label
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.charon.sa_totals import SaTotals
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def observe_sas(telemetry: Telemetry, watch: CharonWatch) -> None:
    """Export the IKE_SAs, their CHILD_SAs and the totals."""
    totals = watch.totals

    def sas() -> tuple[IkeSa, ...]:
        return tuple(watch.our_sas())

    def installed() -> Iterator[tuple[IkeSa, ChildSa]]:
        return ((sa, child) for sa in sas() for child in sa.children if child.installed)

    telemetry.observe(metrics.VICI_CONNECTED, lambda: watch.connected)
    telemetry.observe(metrics.IKE_SAS, lambda: _states(watch.ike_sas))
    telemetry.observe(metrics.CHILD_SAS, lambda: _states(child for sa in watch.ike_sas for child in sa.children))
    telemetry.observe(metrics.SA_BYTES, lambda: _directions(totals, 0))
    telemetry.observe(metrics.SA_PACKETS, lambda: _directions(totals, 1))
    telemetry.observe(metrics.SA_EVENTS, lambda: {
        (str(address), str(event)): count for (address, event), count in totals.events().items()
    })  # fmt: skip
    telemetry.observe(metrics.IKE_SA_ESTABLISHED, lambda: _latest((sa, sa.established_at) for sa in sas()))
    telemetry.observe(metrics.IKE_SA_REPLACEMENT, lambda: _latest((sa, sa.replacement_due) for sa in sas()))
    telemetry.observe(metrics.CHILD_SA_REKEY, lambda: _latest((sa, child.rekey_due) for sa, child in installed()))
    telemetry.observe(metrics.CHILD_SA_EXPIRES, lambda: _latest((sa, child.expires) for sa, child in installed()))
    telemetry.observe(metrics.SA_ALGORITHMS, lambda: _algorithms(sas()))
    telemetry.observe(metrics.IKE_SAS_NAT, lambda: {
        ("local",): sum(sa.nat_local for sa in sas()), ("remote",): sum(sa.nat_remote for sa in sas()),
    })  # fmt: skip


def _states(sas: Iterable[IkeSa | ChildSa]) -> Samples:
    return {(state,): count for state, count in Counter(sa.state for sa in sas).items()}


def _directions(totals: SaTotals, offset: int) -> Samples:
    samples: Samples = {}
    for address, traffic in totals.traffic().items():
        samples[(str(address), "in")] = traffic[offset]
        samples[(str(address), "out")] = traffic[offset + 2]
    return samples


def _latest(times: Iterable[tuple[IkeSa, datetime | None]]) -> Samples:
    """Return the latest time of each NBMA address: that of the SA which replaced the others."""
    samples: Samples = {}
    for sa, time in times:
        if time is not None:
            labels = (str(sa.remote_host),)
            samples[labels] = max(samples.get(labels, 0), time.timestamp())
    return samples


def _algorithms(sas: Iterable[IkeSa]) -> Samples:
    counts: Counter[tuple[str, ...]] = Counter()
    for sa in sas:
        used = [("ike", sa.algorithms), *(("child", child.algorithms) for child in sa.children if child.installed)]
        counts.update((kind, *label(name)) for kind, algorithms in used for name in algorithms)
    return dict(counts)
