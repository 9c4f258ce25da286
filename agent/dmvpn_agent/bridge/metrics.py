"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

BRIDGE_CLIENTS = gauge("bridge_clients", "VICI clients connected to the bridge (nhrpd is one).")
BRIDGE_REQUESTS = counter("bridge_requests", "Commands from clients.", "command", "outcome")
BRIDGE_EVENTS = counter("bridge_events", "Events sent to clients.", "event")
BRIDGE_CLIENTS_DROPPED = counter("bridge_clients_dropped", "Clients the bridge closed, by cause.", "cause")
BRIDGE_CERTIFICATES = gauge("bridge_certificates", "Peer certificates held, one an IKE_SA.")
BRIDGE_CERTIFICATES_MISSING = counter("bridge_certificates_missing", "IKE_SAs announced without a certificate.")
BRIDGE_CERTIFICATES_COMPETING = counter("bridge_certificates_competing",
                                         "IKE_SAs whose peer has wider certificates that do not count.")  # fmt: skip
BRIDGE_CACHE_FLUSHES = counter("bridge_cache_flushes", "Times charon's cache of certificates was to be emptied.",
                                "outcome")  # fmt: skip
BRIDGE_REAUTHENTICATIONS = counter("bridge_reauthentications", "IKE_SAs ended for their peer to authenticate anew.",
                                    "cause")  # fmt: skip
BRIDGE_TRIGGERS = counter("bridge_triggers", "GRE packets sent to make the kernel ask for an SA.", "outcome")
BRIDGE_SURPLUS = counter("bridge_surplus_ike_sas", "IKE_SAs ended because both sides had started, by outcome.",
                          "outcome")  # fmt: skip
BRIDGE_UPGRADES = counter("bridge_upgrades", "Times the bridge was to be replaced while it runs, by outcome.",
                           "outcome")  # fmt: skip
