"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, each, gauge

ROUTES = gauge("routes", "Routes in the agent's own tables.")
ROUTE_CHANGES = counter("route_changes", "Changes of the agent's routes and rules by kind.", "kind",
                        starts=each(("add", "remove")))  # fmt: skip
ROUTE_FAILURES = counter("route_failures", "Passes in which the kernel refused to show or change the agent's routes.")
