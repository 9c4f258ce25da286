"""The metrics catalogue: every series the agent and the bridge export, and nothing else.

Labels are bounded: closed lists, or one value per peer. Certificate subjects appear on ``peer_info`` only.
"""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "dmvpn_agent_"


class Kind(StrEnum):
    """Prometheus metric types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; ``name`` is without prefix and, for counters, without ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, text, labels)


BUILD_INFO = _gauge("build_info", "Version of the running program; always 1.", "version", "process")
UNREADABLE = _counter(
    "unreadable", "Items from outside that could not be read and were skipped, by source.", "source"
)
START_TIME = _gauge("start_time_seconds", "When the process started, Unix time.")
STORE_WRITABLE = _gauge("store_writable", "Whether what this process stores survives a restart.")
PART_FAILURES = _counter("part_failures", "Times a part of the process failed and was started again.", "part")
LOOP_LAG = _gauge("event_loop_lag_seconds", "Longest delay of the event loop in the last minute.")

# nhrpd's questions and our answers
DECISIONS = _counter("decisions", "Answers to nhrpd's binding requests.", "decision", "reason")
OVERLOOKED_CLAIMS = _counter("overlooked_claims", "OUs of peers that look like resources and are not taken.")
DECISION_SECONDS = _counter("decision_seconds", "Time spent from a whole event to its answer.")
EVENT_CONNECTIONS = _counter("event_connections", "Connections to the event socket by how they went.", "outcome")
EVENT_CONNECTIONS_OPEN = _gauge("event_connections_open", "Connections open on the event socket (nhrpd holds one).")

# peers
PEERS = _gauge("peers", "Accepted protocol addresses by state: bound in nhrpd's cache, or lingering after it.",
               "state")  # fmt: skip
PEER_BOUND = _gauge("peer_bound", "1 if nhrpd has the accepted peer bound, 0 while it lingers.", "neighbor")
PEER_INFO = _gauge("peer_info", "One series for each accepted peer; always 1.",
                   "protocol_address", "nbma_address", "as_number", "subject")  # fmt: skip
CACHE_READS = _counter("nhrp_cache_reads", "Reads of nhrpd's cache by outcome.", "outcome")
PEER_DEPARTURES = _counter("peer_departures", "Peers whose neighbor and filter were taken back.", "cause")
CONFLICTS = _counter("conflicts", "Peers that asked for what another live peer holds, by outcome.", "outcome")
DENIED_PEERS = _gauge("denied_peers", "Peers remembered as denied: protocol and NBMA address pairs.")

# after admission
IKE_SAS_ENDED = _counter("ike_sas_ended", "IKE_SAs the agent ended, by cause and outcome.", "cause", "outcome")
SILENCED_PEERS = _gauge("silenced_peers", "Peers whose packets are dropped: another one is behind their NAT address.")
INVITATIONS = _counter("invitations", "Times a peer without an IKE_SA was asked to come back.", "outcome")
REVOKED_PRESENT = _gauge("revoked_peers_present", "Revoked peers that still have an IKE_SA, binding or neighbor.")
TRUST_READS = _counter("trust_reads", "Times the CA certificates and CRLs were read, by outcome.", "outcome")
TRUST_AUTHORITIES = _gauge("trust_authorities", "CA certificates in force.")
CRL_REVOKED = _gauge("crl_revoked_certificates", "Serial numbers in the issuer's CRLs in force.", "issuer")
CRL_NEXT_UPDATE = _gauge("crl_next_update_timestamp_seconds",
                         "When the first of the issuer's CRLs in force is to be renewed, Unix time.",
                         "issuer")  # fmt: skip
CRL_ROLLBACKS = _counter("crl_rollbacks", "Older CRLs that were offered in place of newer ones, and refused.")
CRLS_LOADED = _counter("crls_loaded", "CRLs given to charon, by outcome.", "outcome")

# reconciling FRR
RECONCILES = _counter("reconciles", "Passes of the reconciler by outcome.", "outcome")
RECONCILE_SECONDS = _counter("reconcile_seconds", "Time spent in passes of the reconciler.")
CHANGES = _counter("changes", "Changes sent to FRR by kind and outcome.", "kind", "outcome")
DRIFT_REPAIRS = _counter("drift_repairs", "What somebody changed of the agent's own in FRR, and the agent put right.",
                         "kind")  # fmt: skip
FRR_RESTARTS = _counter("frr_restarts", "Times FRR was found to have been started anew.")
PENDING_CHANGES = _gauge("pending_changes", "Changes FRR still lacks after the last pass.")
LAST_SYNC = _gauge("last_sync_timestamp_seconds", "When FRR was last seen exactly as desired, Unix time.")
FOREIGN_NEIGHBORS = _gauge("foreign_neighbors", "Peers whose neighbor in FRR was written by somebody else.")
ORPHAN_NEIGHBORS = _gauge("orphan_neighbors", "Neighbors kept for a while whose peers are not known any more.")
BGP_PROBLEMS = _gauge("bgp_problems", "Lines of the operator's in FRR that hinder the agent, by kind.", "kind")
NEIGHBOR_ESTABLISHED = _gauge("bgp_neighbor_established", "1 if the peer's BGP session is Established.", "neighbor")
NEIGHBORS_OVER_LIMIT = _gauge("bgp_neighbors_over_limit", "Peers whose session bgpd ended at their maximum-prefix.")
NEIGHBOR_PREFIXES = _gauge("bgp_neighbor_prefixes_received", "Prefixes accepted from the peer.", "neighbor")

# redirect rule
REDIRECT_INSTALLED = _gauge("redirect_rule_installed", "1 if the redirect rule was in place at the last look.")
REDIRECT_INSTALLS = _counter("redirect_rule_installs", "Times the redirect rule was written, by cause.", "cause")
REDIRECT_FAILURES = _counter("redirect_rule_failures", "Times nft could not read or write the redirect rule.")
REDIRECT_PACKETS = _gauge("redirect_rule_packets", "Packets the rule logged to nhrpd since it was last written.")

# the kernel
TUNNEL_UP = _gauge("tunnel_interface_up", "1 if the tunnel interface exists and is up.", "interface")
KERNEL_EVENTS = _counter("kernel_events", "Netlink notifications that mattered.", "kind")
KERNEL_RESYNCS = _counter("kernel_resyncs", "Times the netlink socket was (re)opened and the state read anew.")

# charon
VICI_CONNECTED = _gauge("vici_connected", "1 if connected to charon.")
VICI_EVENTS = _counter("vici_events", "Events received from charon.", "event")
VICI_RECONNECTS = _counter("vici_reconnects", "Times the connection to charon was set up.")
IKE_SAS = _gauge("ike_sas", "IKE_SAs charon has, by state.", "state")
CHILD_SAS = _gauge("child_sas", "CHILD_SAs charon has, by state.", "state")
CHARON_ALERTS = _counter("charon_alerts", "Alerts of charon (strongSwan 6.0.3 and later) by kind.", "kind")

# the DMVPN's SAs
SA_BYTES = _counter("sa_bytes", "Bytes through the peer's CHILD_SAs since the agent started, across rekeyings.",
                    "nbma_address", "direction")  # fmt: skip
SA_PACKETS = _counter("sa_packets", "Packets through the peer's CHILD_SAs since the agent started, across rekeyings.",
                      "nbma_address", "direction")  # fmt: skip
SA_EVENTS = _counter("sa_events", "What became of the peer's SAs.", "nbma_address", "event")
IKE_SA_ESTABLISHED = _gauge("ike_sa_established_timestamp_seconds",
                            "When the peer's newest IKE_SA was established, Unix time.", "nbma_address")  # fmt: skip
IKE_SA_REPLACEMENT = _gauge("ike_sa_replacement_due_timestamp_seconds",
                            "When the peer's newest IKE_SA is to be rekeyed or authenticated anew, Unix time.",
                            "nbma_address")  # fmt: skip
CHILD_SA_REKEY = _gauge("child_sa_rekey_due_timestamp_seconds",
                        "When the peer's newest CHILD_SA is to be rekeyed, Unix time.", "nbma_address")  # fmt: skip
CHILD_SA_EXPIRES = _gauge("child_sa_expires_timestamp_seconds",
                          "When the peer's newest CHILD_SA ends unless it is rekeyed, Unix time.",
                          "nbma_address")  # fmt: skip
SA_ALGORITHMS = _gauge("sa_algorithms", "SAs that use an algorithm, by its strength.",
                       "sa", "algorithm", "strength")  # fmt: skip
IKE_SAS_NAT = _gauge("ike_sas_behind_nat", "IKE_SAs with a NAT on a side.", "side")

# the bridge
BRIDGE_CLIENTS = _gauge("bridge_clients", "VICI clients connected to the bridge (nhrpd is one).")
BRIDGE_REQUESTS = _counter("bridge_requests", "Commands from clients.", "command", "outcome")
BRIDGE_EVENTS = _counter("bridge_events", "Events sent to clients.", "event")
BRIDGE_CLIENTS_DROPPED = _counter("bridge_clients_dropped", "Clients the bridge closed, by cause.", "cause")
BRIDGE_CERTIFICATES = _gauge("bridge_certificates", "Peer certificates held, one an IKE_SA.")
BRIDGE_CERTIFICATES_MISSING = _counter("bridge_certificates_missing", "IKE_SAs announced without a certificate.")
BRIDGE_CERTIFICATES_COMPETING = _counter("bridge_certificates_competing",
                                         "IKE_SAs whose peer has wider certificates that do not count.")  # fmt: skip
BRIDGE_CACHE_FLUSHES = _counter("bridge_cache_flushes", "Times charon's cache of certificates was to be emptied.",
                                "outcome")  # fmt: skip
BRIDGE_REAUTHENTICATIONS = _counter("bridge_reauthentications", "IKE_SAs ended for their peer to authenticate anew.",
                                    "cause")  # fmt: skip
BRIDGE_TRIGGERS = _counter("bridge_triggers", "GRE packets sent to make the kernel ask for an SA.", "outcome")
BRIDGE_SURPLUS = _counter("bridge_surplus_ike_sas", "IKE_SAs ended because both sides had started, by outcome.",
                          "outcome")  # fmt: skip
BRIDGE_UPGRADES = _counter("bridge_upgrades", "Times the bridge was to be replaced while it runs, by outcome.",
                           "outcome")  # fmt: skip

CONNECTIONS_REFUSED = _counter("connections_refused", "Connections beyond what a listener serves at once: refused, or"
                               " an older one evicted.", "listener", "outcome")  # fmt: skip
ACCEPT_FAILURES = _counter("accept_failures", "Times a connection could not be accepted, for want of descriptors.",
                           "listener")  # fmt: skip
LOG_LINES_DROPPED = _counter("log_lines_dropped", "Lines that could not be logged, by cause.", "cause")
CONFIG_RELOADS = _counter("config_reloads", "Times the configuration was read again.", "outcome")

CATALOGUE: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
