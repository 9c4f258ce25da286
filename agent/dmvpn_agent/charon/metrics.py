"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

INVITATIONS = counter("invitations", "Times a peer without an IKE_SA was asked to come back.", "outcome")
CRLS_LOADED = counter("crls_loaded", "CRLs given to charon, by outcome.", "outcome")
VICI_CONNECTED = gauge("vici_connected", "1 if connected to charon.")
VICI_EVENTS = counter("vici_events", "Events received from charon.", "event")
VICI_RECONNECTS = counter("vici_reconnects", "Times the connection to charon was set up.")
IKE_SAS = gauge("ike_sas", "IKE_SAs charon has, by state.", "state")
CHILD_SAS = gauge("child_sas", "CHILD_SAs charon has, by state.", "state")
CHARON_ALERTS = counter("charon_alerts", "Alerts of charon (strongSwan 6.0.3 and later) by kind.", "kind")
SA_BYTES = counter("sa_bytes", "Bytes through the peer's CHILD_SAs since the agent started, across rekeyings.",
                    "nbma_address", "direction")  # fmt: skip
SA_PACKETS = counter("sa_packets", "Packets through the peer's CHILD_SAs since the agent started, across rekeyings.",
                      "nbma_address", "direction")  # fmt: skip
SA_EVENTS = counter("sa_events", "What became of the peer's SAs.", "nbma_address", "event")
IKE_SA_ESTABLISHED = gauge("ike_sa_established_timestamp_seconds",
                            "When the peer's newest IKE_SA was established, Unix time.", "nbma_address")  # fmt: skip
IKE_SA_REPLACEMENT = gauge("ike_sa_replacement_due_timestamp_seconds",
                            "When the peer's newest IKE_SA is to be rekeyed or authenticated anew, Unix time.",
                            "nbma_address")  # fmt: skip
CHILD_SA_REKEY = gauge("child_sa_rekey_due_timestamp_seconds",
                        "When the peer's newest CHILD_SA is to be rekeyed, Unix time.", "nbma_address")  # fmt: skip
CHILD_SA_EXPIRES = gauge("child_sa_expires_timestamp_seconds",
                          "When the peer's newest CHILD_SA ends unless it is rekeyed, Unix time.",
                          "nbma_address")  # fmt: skip
SA_ALGORITHMS = gauge("sa_algorithms", "SAs that use an algorithm, by its strength.",
                       "sa", "algorithm", "strength")  # fmt: skip
IKE_SAS_NAT = gauge("ike_sas_behind_nat", "IKE_SAs with a NAT on a side.", "side")
