"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.charon.alert_kinds import KINDS, OTHER
from dmvpn_agent.charon.events import ALERT_EVENT
from dmvpn_agent.charon.events import SA_EVENTS as _EVENTS
from dmvpn_agent.runtime.metrics import counter, each, gauge

INVITATIONS = counter(
    "invitations",
    "Requests to charon for an IKE_SA with a peer that has none and is acceptable now.",
    "outcome",
    starts=each(("failed", "sent")),
)
CRLS_LOADED = counter(
    "crls_loaded",
    "CRLs sent to charon by outcome.",
    "outcome",
    starts=each(("loaded", "lost", "refused", "too_long")),
)
VICI_CONNECTED = gauge("vici_connected", "1 if connected to charon's VICI socket.")
VICI_EVENTS = counter("vici_events", "Events received from charon.", "event", starts=each((*_EVENTS, ALERT_EVENT)))
VICI_RECONNECTS = counter("vici_reconnects", "Connections made to charon.")
IKE_SAS = gauge("ike_sas", "IKE_SAs of charon by state.", "state")
CHILD_SAS = gauge("child_sas", "CHILD_SAs of charon by state.", "state")
CHARON_ALERTS = counter(
    "charon_alerts",
    "Alerts of charon by kind (strongSwan 6.0.3 and later).",
    "kind",
    starts=each((*sorted(KINDS), OTHER)),
)
SA_BYTES = counter("sa_bytes", "Bytes through the peer's CHILD_SAs since the agent started, across rekeyings.",
                    "nbma_address", "direction")  # fmt: skip
SA_PACKETS = counter("sa_packets", "Packets through the peer's CHILD_SAs since the agent started, across rekeyings.",
                      "nbma_address", "direction")  # fmt: skip
SA_EVENTS = counter("sa_events", "Events of the peer's SAs.", "nbma_address", "event")
IKE_SA_ESTABLISHED = gauge(
    "ike_sa_established_timestamp_seconds",
    "Unix time at which the peer's newest IKE_SA was established.",
    "nbma_address",
)
IKE_SA_REPLACEMENT = gauge(
    "ike_sa_replacement_due_timestamp_seconds",
    "Unix time at which the peer's newest IKE_SA is due to be rekeyed or reauthenticated.",
    "nbma_address",
)
CHILD_SA_REKEY = gauge(
    "child_sa_rekey_due_timestamp_seconds",
    "Unix time at which the peer's newest CHILD_SA is due to be rekeyed.",
    "nbma_address",
)
CHILD_SA_EXPIRES = gauge(
    "child_sa_expires_timestamp_seconds",
    "Unix time at which the peer's newest CHILD_SA expires unless it is rekeyed.",
    "nbma_address",
)
SA_ALGORITHMS = gauge("sa_algorithms", "SAs by algorithm and its strength.", "sa", "algorithm", "strength")
IKE_SAS_NAT = gauge("ike_sas_behind_nat", "IKE_SAs with a NAT, by side.", "side")
