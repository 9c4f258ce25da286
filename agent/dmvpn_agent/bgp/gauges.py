"""The reconciler's gauges."""

from collections import Counter

from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.problem import BgpProblemKind
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def observe_reconciler(telemetry: Telemetry, reconciler: Reconciler) -> None:
    """Export whether FRR is in sync, and what hinders it."""

    def over_limit() -> float:
        return sum(session.over_limit for _, session in reconciler.sessions())

    def problems() -> Samples:
        count = Counter(problem.kind for problem in reconciler.problems)
        return {(str(kind),): count[kind] for kind in BgpProblemKind}

    telemetry.observe(metrics.BGP_PROBLEMS, problems)
    telemetry.observe(metrics.PENDING_CHANGES, lambda: len(reconciler.pending))
    telemetry.observe(metrics.FOREIGN_NEIGHBORS, lambda: len(reconciler.operator_neighbors))
    telemetry.observe(metrics.ORPHAN_NEIGHBORS, lambda: len(reconciler.stale_neighbors))
    telemetry.observe(metrics.LAST_SYNC, lambda: reconciler.last_sync.timestamp() if reconciler.last_sync else 0)
    telemetry.observe(metrics.NEIGHBORS_OVER_LIMIT, over_limit)
