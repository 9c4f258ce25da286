"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.metrics import counter, each, gauge, histogram

#: Seconds; nhrpd denies after 10.
_WAITS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0)

DECISIONS = counter(
    "decisions",
    "Answers to nhrpd's authorize-binding requests.",
    "decision",
    "reason",
    starts=[("accept", ""), *each(["deny"], Reason)],
)
OVERLOOKED_CLAIMS = counter("overlooked_claims", "OUs of peers that look like resources and do not count.")
DECISION_DURATION = histogram(
    "decision_duration_seconds",
    "Time from nhrpd's request to the answer, with the wait for charon.",
    "decision",
    buckets=_WAITS,
    starts=each(("accept", "deny")),
)
EVENT_CONNECTIONS = counter(
    "event_connections",
    "Closed connections to the event socket by outcome.",
    "outcome",
    starts=each(("broken", "closed_by_client", "evicted", "message_too_long", "stopped", "unfinished_message")),
)
EVENT_CONNECTIONS_OPEN = gauge("event_connections_open", "Open connections to the event socket (nhrpd has one).")
PEERS = gauge(
    "peers", "Protocol addresses of accepted peers by state: bound in nhrpd's cache, or absent from it.", "state"
)
CACHE_READS = counter(
    "nhrp_cache_reads", "Reads of nhrpd's cache by outcome.", "outcome", starts=each(("read", "failed"))
)
PEER_DEPARTURES = counter(
    "peer_departures",
    "Accepted peers that were removed, by cause.",
    "cause",
    starts=each(("left", "taken_over", *Reason)),
)
CONFLICTS = counter(
    "conflicts",
    "Requests for an address or prefix that another live peer holds, by outcome.",
    "outcome",
    starts=each(("denied", "taken_over")),
)
DENIED_PEERS = gauge("denied_peers", "Denials in memory, one for each pair of protocol and NBMA address.")
NHRP_CACHE_ENTRIES = gauge("nhrp_cache_entries", "Entries of nhrpd's cache on the tunnel interfaces by type.", "type")
NHRP_SHORTCUTS = gauge("nhrp_shortcuts", "Shortcuts of nhrpd: networks that it reaches through a peer directly.")
