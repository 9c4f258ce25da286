"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.charon.alert_kinds import KINDS, OTHER
from dmvpn_agent.charon.events import ALERT_EVENT, SA_EVENTS, SaEventKind
from dmvpn_agent.charon.failure_log import KINDS as KINDS_IN_LOG
from dmvpn_agent.runtime.metrics import counter, each, gauge

INVITATIONS = counter(
    "invitations",
    "Requests to charon for an IKE_SA with a peer that has none.",
    "outcome",
    starts=each(("failed", "sent")),
)
CERTIFICATE_READS = counter(
    "ike_sa_certificate_reads",
    "Requests for the certificates of IKE_SAs that charon does not list, by who answered.",
    "source",
    starts=each(("bridge", "file", "none")),
)
CRLS_LOADED = counter(
    "crls_loaded",
    "CRLs sent to charon by outcome.",
    "outcome",
    starts=each(("loaded", "lost", "refused", "too_long")),
)
VICI_CONNECTED = gauge("vici_connected", "1 if connected to charon's VICI socket.")
VICI_EVENTS = counter("vici_events", "Events received from charon.", "event", starts=each((*SA_EVENTS, ALERT_EVENT)))
VICI_RECONNECTS = counter("vici_reconnects", "Connections made to charon.")
IKE_SAS = gauge("ike_sas", "IKE_SAs of charon by state.", "state")
CHILD_SAS = gauge("child_sas", "CHILD_SAs of charon by state.", "state")
CHARON_ALERTS = counter(
    "charon_alerts",
    "Alerts of charon by kind (strongSwan 6.0.3 and later).",
    "kind",
    starts=each((*sorted(KINDS), OTHER)),
)
LOGGED_FAILURES = counter(
    "charon_logged_failures",
    "Failed attempts in the log of a charon without alerts, read while a peer has no IKE_SA or CHILD_SA.",
    "kind",
    starts=each(KINDS_IN_LOG),
)
IPSEC_BYTES = counter("ipsec_bytes", "Bytes through all CHILD_SAs of the DMVPN since the agent started.", "direction")
IPSEC_PACKETS = counter(
    "ipsec_packets", "Packets through all CHILD_SAs of the DMVPN since the agent started.", "direction"
)
IPSEC_EVENTS = counter("ipsec_events", "Events of the SAs of all peers.", "event", starts=each(SaEventKind))
SA_ALGORITHMS = gauge("sa_algorithms", "SAs by algorithm and its strength.", "sa", "algorithm", "strength")
IKE_SAS_NAT = gauge("ike_sas_behind_nat", "IKE_SAs with a NAT, by side.", "side")
