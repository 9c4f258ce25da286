"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import gauge

RENEWAL_DUE = gauge("renewal_due_timestamp_seconds", "When this node's certificate is to be renewed, Unix time.")
RENEWAL_SUCCESS = gauge("renewal_success_timestamp_seconds", "Last renewal of this node's certificate, Unix time.")
RENEWAL_FAILURES = gauge(
    "renewal_failures", "Attempts to renew this node's certificate that failed since the last success."
)
