"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, each, gauge

BRIDGE_CLIENTS = gauge("bridge_clients", "VICI clients of the bridge (nhrpd is one).")
BRIDGE_REQUESTS = counter(
    "bridge_requests",
    "Commands of clients by outcome.",
    "command",
    "outcome",
    starts=[
        ("list-sas", "done"),
        ("list-sa-certs", "done"),
        *each(("initiate", "terminate"), ("done", "refused")),
        ("other", "unknown"),
    ],
)
BRIDGE_EVENTS = counter(
    "bridge_events",
    "Events sent to clients.",
    "event",
    starts=each(("child-state-destroying", "child-state-installed", "list-sa")),
)
BRIDGE_CLIENTS_DROPPED = counter(
    "bridge_clients_dropped",
    "Closed connections of clients, by cause.",
    "cause",
    starts=each(
        (
            "broken",
            "charon_away",
            "charon_lost",
            "closed_by_client",
            "does_not_read",
            "idle",
            "message_too_long",
            "too_many",
        )
    ),
)
BRIDGE_CERTIFICATES = gauge("bridge_certificates", "Peer certificates in memory, one for each IKE_SA.")
BRIDGE_CERTIFICATES_MISSING = counter(
    "bridge_certificates_missing", "IKE_SAs announced to clients without a certificate."
)
BRIDGE_CERTIFICATES_COMPETING = counter(
    "bridge_certificates_competing",
    "IKE_SAs whose peer also has certificates with more resources, which do not count.",
)
BRIDGE_FOREIGN_AUTHORITIES = gauge(
    "bridge_foreign_authorities", "CA certificates that charon trusts and policy.ca_certificates lacks."
)
BRIDGE_CACHE_FLUSHES = counter(
    "bridge_cache_flushes",
    "Requests to charon to empty its certificate cache, by outcome.",
    "outcome",
    starts=each(("failed", "flushed")),
)
BRIDGE_REAUTHENTICATIONS = counter(
    "bridge_reauthentications",
    "IKE_SAs that the bridge ended so that the peer authenticates again.",
    "cause",
    starts=each(("competing", "doubtful", "failed", "lost")),
)
BRIDGE_TRIGGERS = counter(
    "bridge_triggers",
    "GRE packets that make the kernel ask charon for an SA, by outcome.",
    "outcome",
    starts=each(("failed", "limited", "not_needed", "repeated", "sent", "under_way")),
)
BRIDGE_SURPLUS = counter(
    "bridge_surplus_ike_sas",
    "IKE_SAs that the bridge ended because both sides had started one, by outcome.",
    "outcome",
    starts=each(("ended", "gone")),
)
BRIDGE_UPGRADES = counter(
    "bridge_upgrades",
    "Upgrades of the running bridge, by outcome.",
    "outcome",
    starts=each(("failed", "refused", "taken_over")),
)
