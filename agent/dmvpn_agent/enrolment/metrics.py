"""Metrics of the CA's server, ``dmvpn-agent ca serve``."""

from dmvpn_agent.enrolment.outcome import OUTCOMES, Protocol
from dmvpn_agent.runtime.metrics import counter, each, gauge

CA_REQUESTS = counter(
    "ca_http_requests",
    "Requests to the CA's server by status.",
    "status",
    starts=each(("200", "304", "400", "401", "403", "404", "405", "413", "429", "503")),
)
ENROLMENTS = counter(
    "ca_enrolments",
    "Requests for a certificate by protocol and outcome.",
    "protocol",
    "outcome",
    starts=each(Protocol, OUTCOMES),
)
UPKEEP_FAILURES = counter(
    "ca_upkeep_failures", "Failures of what the CA's server does by itself: new CRLs, its certificates."
)
CRL_NEXT_UPDATE = gauge(
    "ca_crl_next_update_seconds", "Unix time at which the CRL that the CA's server has ends.", "authority"
)
