"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.bgp.drift import Drift
from dmvpn_agent.runtime.metrics import counter, each, gauge

_CHANGES = ("AddEntry", "RefreshInbound", "RemoveEntry", "RemoveList", "RemoveNeighbor", "SetNeighbor")

RECONCILES = counter(
    "reconciles",
    "Passes of the reconciler by outcome.",
    "outcome",
    starts=each(("applied", "dry_run", "failed", "unchanged")),
)
RECONCILE_SECONDS = counter("reconcile_seconds", "Time spent in passes of the reconciler.")
CHANGES = counter(
    "changes",
    "Changes sent to FRR by kind and outcome.",
    "kind",
    "outcome",
    starts=each(_CHANGES, ("applied", "refused")),
)
DRIFT_REPAIRS = counter(
    "drift_repairs",
    "Neighbors and prefix-lists of the agent that were edited in FRR and restored.",
    "kind",
    starts=each(Drift),
)
FRR_RESTARTS = counter("frr_restarts", "Restarts of FRR that the agent noticed.")
PENDING_CHANGES = gauge("pending_changes", "Changes that FRR still lacks after the last pass.")
LAST_SYNC = gauge("last_sync_timestamp_seconds", "Unix time at which FRR was last exactly as desired.")
FOREIGN_NEIGHBORS = gauge("foreign_neighbors", "Accepted peers with a neighbor in FRR that the agent did not write.")
ORPHAN_NEIGHBORS = gauge(
    "orphan_neighbors", "Neighbors of the agent whose peers it does not know, kept for the linger time."
)
BGP_PROBLEMS = gauge(
    "bgp_problems", "Lines of the operator's FRR configuration that hinder the agent, by kind.", "kind"
)
NEIGHBORS_OVER_LIMIT = gauge("bgp_neighbors_over_limit", "Peers whose session bgpd ended because of maximum-prefix.")
