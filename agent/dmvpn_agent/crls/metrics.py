"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, each, gauge

CRL_FETCHES = counter(
    "crl_fetches",
    "Requests for a CRL by outcome.",
    "outcome",
    starts=each(("failed", "new", "not_kept", "older", "refused", "unchanged")),
)
CRL_FETCHED = gauge(
    "crl_fetch_success_timestamp_seconds", "Last answer of the address with a usable CRL, Unix time.", "url"
)
