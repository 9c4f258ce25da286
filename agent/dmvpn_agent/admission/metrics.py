"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

DECISIONS = counter("decisions", "Answers to nhrpd's authorize-binding requests.", "decision", "reason")
OVERLOOKED_CLAIMS = counter("overlooked_claims", "OUs of peers that look like resources and do not count.")
DECISION_SECONDS = counter("decision_seconds", "Time spent on decisions, without waiting for charon.")
EVENT_CONNECTIONS = counter("event_connections", "Closed connections to the event socket by outcome.", "outcome")
EVENT_CONNECTIONS_OPEN = gauge("event_connections_open", "Open connections to the event socket (nhrpd has one).")
PEERS = gauge(
    "peers", "Protocol addresses of accepted peers by state: bound in nhrpd's cache, or absent from it.", "state"
)
PEER_BOUND = gauge(
    "peer_bound", "1 if nhrpd has the accepted peer bound, 0 during the linger time after it left.", "neighbor"
)
PEER_INFO = gauge("peer_info", "One series for each accepted peer; always 1.",
                   "protocol_address", "nbma_address", "as_number", "subject")  # fmt: skip
CACHE_READS = counter("nhrp_cache_reads", "Reads of nhrpd's cache by outcome.", "outcome")
PEER_DEPARTURES = counter("peer_departures", "Accepted peers that were removed, by cause.", "cause")
CONFLICTS = counter(
    "conflicts", "Requests for an address or prefix that another live peer holds, by outcome.", "outcome"
)
DENIED_PEERS = gauge("denied_peers", "Denials in memory, one for each pair of protocol and NBMA address.")
