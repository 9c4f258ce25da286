"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

RECONCILES = counter("reconciles", "Passes of the reconciler by outcome.", "outcome")
RECONCILE_SECONDS = counter("reconcile_seconds", "Time spent in passes of the reconciler.")
CHANGES = counter("changes", "Changes sent to FRR by kind and outcome.", "kind", "outcome")
DRIFT_REPAIRS = counter("drift_repairs", "What somebody changed of the agent's own in FRR, and the agent put right.",
                         "kind")  # fmt: skip
FRR_RESTARTS = counter("frr_restarts", "Times FRR was found to have been started anew.")
PENDING_CHANGES = gauge("pending_changes", "Changes FRR still lacks after the last pass.")
LAST_SYNC = gauge("last_sync_timestamp_seconds", "When FRR was last seen exactly as desired, Unix time.")
FOREIGN_NEIGHBORS = gauge("foreign_neighbors", "Peers whose neighbor in FRR was written by somebody else.")
ORPHAN_NEIGHBORS = gauge("orphan_neighbors", "Neighbors kept for a while whose peers are not known any more.")
BGP_PROBLEMS = gauge("bgp_problems", "Lines of the operator's in FRR that hinder the agent, by kind.", "kind")
NEIGHBOR_ESTABLISHED = gauge("bgp_neighbor_established", "1 if the peer's BGP session is Established.", "neighbor")
NEIGHBORS_OVER_LIMIT = gauge("bgp_neighbors_over_limit", "Peers whose session bgpd ended at their maximum-prefix.")
NEIGHBOR_PREFIXES = gauge("bgp_neighbor_prefixes_received", "Prefixes accepted from the peer.", "neighbor")
