"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

BRIDGE_CLIENTS = gauge("bridge_clients", "VICI clients of the bridge (nhrpd is one).")
BRIDGE_REQUESTS = counter("bridge_requests", "Commands of clients by outcome.", "command", "outcome")
BRIDGE_EVENTS = counter("bridge_events", "Events sent to clients.", "event")
BRIDGE_CLIENTS_DROPPED = counter("bridge_clients_dropped", "Closed connections of clients, by cause.", "cause")
BRIDGE_CERTIFICATES = gauge("bridge_certificates", "Peer certificates in memory, one for each IKE_SA.")
BRIDGE_CERTIFICATES_MISSING = counter(
    "bridge_certificates_missing", "IKE_SAs announced to clients without a certificate."
)
BRIDGE_CERTIFICATES_COMPETING = counter(
    "bridge_certificates_competing",
    "IKE_SAs whose peer also has certificates with more resources, which do not count.",
)
BRIDGE_CACHE_FLUSHES = counter(
    "bridge_cache_flushes", "Requests to charon to empty its certificate cache, by outcome.", "outcome"
)
BRIDGE_REAUTHENTICATIONS = counter(
    "bridge_reauthentications", "IKE_SAs that the bridge ended so that the peer authenticates again.", "cause"
)
BRIDGE_TRIGGERS = counter(
    "bridge_triggers", "GRE packets that make the kernel ask charon for an SA, by outcome.", "outcome"
)
BRIDGE_SURPLUS = counter(
    "bridge_surplus_ike_sas",
    "IKE_SAs that the bridge ended because both sides had started one, by outcome.",
    "outcome",
)
BRIDGE_UPGRADES = counter("bridge_upgrades", "Upgrades of the running bridge, by outcome.", "outcome")
