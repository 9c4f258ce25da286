"""The metrics of peers; docs/metrics.md explains them. Every series of a peer has its name as the label ``peer``."""

from dmvpn_agent.runtime.metrics import counter, each, gauge
from dmvpn_agent.view.stage import Stage

PEER_UP = gauge(
    "peer_up", "1 if the peer has passed every stage, 0 if not, also if it is expected and absent.", "peer"
)
PEER_STAGE = gauge("peer_stage", "One series for each peer, labelled with its stage; always 1.", "peer", "stage")
PEER_EXPECTED = gauge("peer_expected", "1 if the peer is expected: configured, or learned and not forgotten.", "peer")
PEER_INFO = gauge(
    "peer_info",
    "One series for each peer, with what is known of it; always 1.",
    "peer",
    "kind",
    "interface",
    "protocol_address",
    "nbma_address",
    "as_number",
    "subject",
)
PEER_BOUND = gauge("peer_bound", "1 if nhrpd has the accepted peer bound, 0 if not.", "peer")
PEER_LAST_SEEN = gauge("peer_last_seen_timestamp_seconds", "Unix time at which the peer was last up.", "peer")
PEER_STAGE_SINCE = gauge(
    "peer_stage_since_timestamp_seconds", "Unix time at which the peer came to its stage.", "peer"
)
STAGE_CHANGES = counter(
    "peer_stage_changes", "Times that a peer came to a stage, all peers together.", "stage", starts=each(Stage)
)
PEER_FLAPS = counter("peer_flaps", "Times that the peer left the stage up.", "peer")
PEER_SHORTCUTS = gauge("peer_shortcuts", "Networks that nhrpd reaches through the peer by a shortcut.", "peer")
PEERS_AT_STAGE = gauge("peers_at_stage", "Peers by stage.", "stage")
PEERS_EXPECTED = gauge(
    "peers_expected", "Expected peers by whether they are up, absent, or unknown: a daemon cannot be read.", "state"
)
QUARANTINED_PEERS = gauge("quarantined_peers", "Accepted peers in quarantine: they have no BGP neighbor.")
PEERS_WITHOUT_SERIES = gauge(
    "peers_without_series", "Peers above the limit, which have no series of their own and count in totals only."
)
CERTIFICATE_NOT_AFTER = gauge(
    "certificate_not_after_timestamp_seconds",
    "Unix time at which the certificate of a peer (label peer), of this node or of a CA (label subject) expires.",
    "kind",
    "peer",
    "subject",
)
BGP_ESTABLISHED = gauge("bgp_established", "1 if the peer's BGP session is Established.", "peer")
BGP_ESTABLISHED_SINCE = gauge(
    "bgp_established_timestamp_seconds", "Unix time at which the peer's BGP session came up.", "peer"
)
BGP_DROPS = counter("bgp_session_drops", "Times that the peer's BGP session went down, as bgpd counts.", "peer")
BGP_ACCEPTED = gauge("bgp_prefixes_accepted", "Prefixes accepted from the peer.", "peer")
BGP_FILTERED = gauge(
    "bgp_prefixes_filtered", "Prefixes of the peer that its filter refused, since its session came up.", "peer"
)
SA_BYTES = counter(
    "sa_bytes", "Bytes through the peer's CHILD_SAs since the agent started, across rekeyings.", "peer", "direction"
)
SA_PACKETS = counter(
    "sa_packets",
    "Packets through the peer's CHILD_SAs since the agent started, across rekeyings.",
    "peer",
    "direction",
)
SA_EVENTS = counter("sa_events", "Events of the peer's SAs.", "peer", "event")
IKE_SA_ESTABLISHED = gauge(
    "ike_sa_established_timestamp_seconds", "Unix time at which the peer's newest IKE_SA was established.", "peer"
)
IKE_SA_REPLACEMENT = gauge(
    "ike_sa_replacement_due_timestamp_seconds",
    "Unix time at which the peer's newest IKE_SA is due to be rekeyed or reauthenticated.",
    "peer",
)
CHILD_SA_REKEY = gauge(
    "child_sa_rekey_due_timestamp_seconds",
    "Unix time at which the peer's newest CHILD_SA is due to be rekeyed.",
    "peer",
)
CHILD_SA_EXPIRES = gauge(
    "child_sa_expires_timestamp_seconds",
    "Unix time at which the peer's newest CHILD_SA expires unless it is rekeyed.",
    "peer",
)
