"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

DECISIONS = counter("decisions", "Answers to nhrpd's binding requests.", "decision", "reason")
OVERLOOKED_CLAIMS = counter("overlooked_claims", "OUs of peers that look like resources and are not taken.")
DECISION_SECONDS = counter("decision_seconds", "Time spent from a whole event to its answer.")
EVENT_CONNECTIONS = counter("event_connections", "Connections to the event socket by how they went.", "outcome")
EVENT_CONNECTIONS_OPEN = gauge("event_connections_open", "Connections open on the event socket (nhrpd holds one).")
PEERS = gauge("peers", "Accepted protocol addresses by state: bound in nhrpd's cache, or lingering after it.",
               "state")  # fmt: skip
PEER_BOUND = gauge("peer_bound", "1 if nhrpd has the accepted peer bound, 0 while it lingers.", "neighbor")
PEER_INFO = gauge("peer_info", "One series for each accepted peer; always 1.",
                   "protocol_address", "nbma_address", "as_number", "subject")  # fmt: skip
CACHE_READS = counter("nhrp_cache_reads", "Reads of nhrpd's cache by outcome.", "outcome")
PEER_DEPARTURES = counter("peer_departures", "Peers whose neighbor and filter were taken back.", "cause")
CONFLICTS = counter("conflicts", "Peers that asked for what another live peer holds, by outcome.", "outcome")
DENIED_PEERS = gauge("denied_peers", "Peers remembered as denied: protocol and NBMA address pairs.")
