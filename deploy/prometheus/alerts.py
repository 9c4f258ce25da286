"""The alerts of DMVPN nodes; ``build.py`` writes them for Prometheus."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert. In ``expression``, ``$s`` stands for the selector, ``$agent`` and ``$bridge`` for the jobs' names.

    ``lasts``: for how long the expression must hold. docs/runbook.md has a section for each.
    """

    name: str
    severity: str
    lasts: str
    summary: str
    expression: str


#: Counters of closed labels begin at 0, so ``increase`` sees their first event.
AGENT = (
    Alert(
        "DmvpnAgentDown", "critical", "1m",
        "{{ $labels.instance }}: Prometheus cannot scrape the agent",
        'up{job="$agent"} == 0 '
        'or (up{$s} == 0 and on (job, instance) last_over_time(dmvpn_agent_build_info{process="agent",$s}[1d]))',
    ),
    Alert(
        "DmvpnRestarting", "warning", "",
        "{{ $labels.instance }}: {{ $labels.job }} restarts again and again",
        "changes(dmvpn_agent_start_time_seconds{$s}[15m]) > 2",
    ),
    Alert(
        "DmvpnNhrpdNotConnected", "critical", "1m",
        "{{ $labels.instance }}: nhrpd is not connected to the agent",
        "dmvpn_agent_event_connections_open{$s} == 0",
    ),
    Alert(
        "DmvpnSourceDown", "warning", "5m",
        "{{ $labels.instance }}: {{ $labels.source }} cannot be read",
        "dmvpn_agent_source_up{$s} == 0",
    ),
    Alert(
        "DmvpnDecisionsSlow", "critical", "",
        "{{ $labels.instance }}: decisions took more than 5 s",
        "sum by (job, instance) (increase(dmvpn_agent_decision_duration_seconds_count{$s}[15m])) "
        '- sum by (job, instance) (increase(dmvpn_agent_decision_duration_seconds_bucket{le="5.0",$s}[15m])) > 0.5',
    ),
    Alert(
        "DmvpnEventLoopSlow", "warning", "5m",
        "{{ $labels.instance }}: {{ $labels.job }} answers {{ $value | humanizeDuration }} late",
        "dmvpn_agent_event_loop_lag_seconds{$s} > 1",
    ),
    Alert(
        "DmvpnManyPeersDown", "critical", "5m",
        "{{ $labels.instance }}: {{ $value | humanizePercentage }} of the expected peers are down",
        'dmvpn_agent_peers_expected{state="absent",$s} '
        "/ ignoring (state) sum without (state) (dmvpn_agent_peers_expected{$s}) > 0.2 "
        'and ignoring (state) dmvpn_agent_peers_expected{state="absent",$s} >= 5',
    ),
    Alert(
        "DmvpnPeerDown", "warning", "10m",
        "{{ $labels.instance }}: {{ $labels.peer }} is down",
        "dmvpn_agent_peer_up{$s} == 0 and on (job, instance, peer) dmvpn_agent_peer_expected{$s} == 1 "
        'unless on (job, instance, peer) dmvpn_agent_peer_stage{stage="unknown",$s}',  # a daemon cannot be read
    ),
    Alert(
        "DmvpnHubLost", "warning", "2m",
        "{{ $labels.instance }}: hub {{ $labels.peer }} is down",
        'dmvpn_agent_peer_up{$s} == 0 and on (job, instance, peer) dmvpn_agent_peer_info{kind="hub",$s} '
        'unless on (job, instance, peer) dmvpn_agent_peer_stage{stage="unknown",$s}',
    ),
    Alert(
        "DmvpnNoHub", "critical", "1m",
        "{{ $labels.instance }}: no hub is up",
        '(count by (job, instance) (dmvpn_agent_peer_info{kind="hub",$s}) > 0) '
        "unless on (job, instance) ((dmvpn_agent_peer_up{$s} == 1 "
        'or on (job, instance, peer) dmvpn_agent_peer_stage{stage="unknown",$s}) '
        'and on (job, instance, peer) dmvpn_agent_peer_info{kind="hub",$s}) '
        'unless on (job, instance) dmvpn_agent_peer_info{kind="spoke",$s}',  # a hub has spokes
    ),
    Alert(
        "DmvpnPeerFlapping", "warning", "",
        "{{ $labels.instance }}: {{ $labels.peer }} comes and goes",
        "increase(dmvpn_agent_peer_flaps_total{$s}[1h]) > 5",
    ),
    Alert(
        "DmvpnQuarantine", "warning", "1h",
        "{{ $labels.instance }}: {{ $value }} accepted peers are in quarantine",
        "dmvpn_agent_quarantined_peers{$s} > 0",
    ),
    Alert(
        "DmvpnFrrNotInStep", "critical", "1m",
        "{{ $labels.instance }}: FRR has not been as desired for more than 5 minutes",
        "time() - dmvpn_agent_last_sync_timestamp_seconds{$s} > 300",
    ),
    Alert(
        "DmvpnRevokedPeerPresent", "critical", "1m",
        "{{ $labels.instance }}: {{ $value }} revoked peers still have access",
        "dmvpn_agent_revoked_peers_present{$s} > 0",
    ),
    Alert(
        "DmvpnCrlOutdated", "warning", "5m",
        "{{ $labels.instance }}: the CRL of {{ $labels.issuer }} is outdated",
        "dmvpn_agent_crl_next_update_timestamp_seconds{$s} - time() < 0",
    ),
    Alert(
        "DmvpnCertificateExpires", "warning", "",
        "{{ $labels.instance }}: the certificate of {{ $labels.kind }} {{ $labels.peer "
        "}}{{ $labels.subject }} expires in {{ $value | humanizeDuration }}",
        "dmvpn_agent_certificate_not_after_timestamp_seconds{$s} - time() < 14 * 86400",
    ),
    Alert(
        "DmvpnRenewalFails", "warning", "",
        "{{ $labels.instance }}: the node's certificate is not renewed: {{ $value }} attempts failed",
        "dmvpn_agent_renewal_failures{$s} >= 3",
    ),
    Alert(
        "DmvpnTrustUnusable", "warning", "",
        "{{ $labels.instance }}: a CA certificate or CRL cannot be used",
        'increase(dmvpn_agent_trust_reads_total{outcome="problem",$s}[15m]) > 0',
    ),
    Alert(
        "DmvpnChangesPending", "warning", "5m",
        "{{ $labels.instance }}: FRR lacks {{ $value }} changes",
        "dmvpn_agent_pending_changes{$s} > 0",
    ),
    Alert(
        "DmvpnForeignNeighbor", "warning", "5m",
        "{{ $labels.instance }}: {{ $value }} accepted peers have a neighbor that the agent did not write",
        "dmvpn_agent_foreign_neighbors{$s} > 0",
    ),
    Alert(
        "DmvpnTooManyPrefixes", "warning", "",
        "{{ $labels.instance }}: bgpd ended the sessions of {{ $value }} peers that "
        "announce too many prefixes",
        "dmvpn_agent_bgp_neighbors_over_limit{$s} > 0",
    ),
    Alert(
        "DmvpnDrift", "warning", "",
        "{{ $labels.instance }}: the agent's part of FRR's configuration is edited again "
        "and again: {{ $labels.kind }}",
        "increase(dmvpn_agent_drift_repairs_total{$s}[30m]) > 3",
    ),
    Alert(
        "DmvpnPeerWithoutBgp", "warning", "5m",
        "{{ $labels.instance }}: no BGP session with bound peer {{ $labels.peer }}",
        # A peer in quarantine has no session, and none has a series while bgpd cannot be read.
        "dmvpn_agent_peer_bound{$s} == 1 and on (job, instance, peer) dmvpn_agent_bgp_established{$s} == 0",
    ),
    Alert(
        "DmvpnBgpFlapping", "warning", "",
        "{{ $labels.instance }}: the BGP session with {{ $labels.peer }} comes and goes",
        "increase(dmvpn_agent_bgp_session_drops_total{$s}[30m]) > 3",
    ),
    Alert(
        "DmvpnRedirectRuleMissing", "warning", "1m",
        "{{ $labels.instance }}: the redirect rule is missing",
        "dmvpn_agent_redirect_rule_installed{$s} == 0",
    ),
    Alert(
        "DmvpnFilterMissing", "warning", "5m",
        "{{ $labels.instance }}: the {{ $labels.filter }} is configured and not in place",
        "dmvpn_agent_filter_missing{$s} == 1",
    ),
    Alert(
        "DmvpnClearGre", "warning", "",
        "{{ $labels.instance }}: GRE of a tunnel came in without IPsec",
        'increase(dmvpn_agent_clear_gre_packets_total{direction="received",$s}[15m]) > 0',
    ),
    Alert(
        "DmvpnTunnelDown", "critical", "1m",
        "{{ $labels.instance }}: {{ $labels.interface }} is down or absent",
        "dmvpn_agent_tunnel_interface_up{$s} == 0",
    ),
    Alert(
        "DmvpnCharonNotConnected", "critical", "1m",
        "{{ $labels.instance }}: {{ $labels.job }} is not connected to charon",
        "dmvpn_agent_vici_connected{$s} == 0",
    ),
    Alert(
        "DmvpnTunnelOneWay", "warning", "2m",
        "{{ $labels.instance }}: {{ $labels.peer }} receives packets and sends none",
        'increase(dmvpn_agent_sa_packets_total{direction="out",$s}[10m]) > 20 '
        'unless on (job, instance, peer) increase(dmvpn_agent_sa_packets_total{direction="in",$s}[10m]) > 0',
    ),
    Alert(
        "DmvpnSaFlapping", "warning", "",
        "{{ $labels.instance }}: the tunnel with {{ $labels.peer }} comes and goes",
        'increase(dmvpn_agent_sa_events_total{event="child_closed",$s}[30m]) > 6',
    ),
    Alert(
        "DmvpnRekeyOverdue", "warning", "1m",
        "{{ $labels.instance }}: the CHILD_SA with {{ $labels.peer }} is not rekeyed",
        "time() - dmvpn_agent_child_sa_rekey_due_timestamp_seconds{$s} > 120",
    ),
    Alert(
        "DmvpnWeakAlgorithm", "warning", "5m",
        "{{ $labels.instance }}: {{ $value }} {{ $labels.sa }} SAs use {{ $labels.algorithm }}",
        'dmvpn_agent_sa_algorithms{strength="weak",$s} > 0',
    ),
    Alert(
        "DmvpnDenials", "warning", "",
        "{{ $labels.instance }}: {{ $value | humanize }} denials in 10 minutes: {{ $labels.reason }}",
        'sum by (job, instance, reason) (increase(dmvpn_agent_decisions_total{decision="deny",$s}[10m])) > 20',
    ),
    Alert(
        "DmvpnCertificateAwaited", "critical", "",
        "{{ $labels.instance }}: new peers are denied because the bridge does not say which certificate they have",
        'increase(dmvpn_agent_decisions_total{reason="certificate_awaited",$s}[15m]) > 0',
    ),
    Alert(
        "DmvpnInternalError", "warning", "",
        "{{ $labels.instance }}: a decision failed inside the agent",
        'increase(dmvpn_agent_decisions_total{reason="internal_error",$s}[15m]) > 0',
    ),
    Alert(
        "DmvpnPartFailing", "warning", "",
        "{{ $labels.instance }}: {{ $labels.part }} of {{ $labels.job }} failed",
        "increase(dmvpn_agent_part_failures_total{$s}[15m]) > 0",
    ),
    Alert(
        "DmvpnConfigRefused", "warning", "",
        "{{ $labels.instance }}: {{ $labels.job }} refused its new configuration",
        "dmvpn_agent_config_last_reload_successful{$s} == 0",
    ),
    Alert(
        "DmvpnStoreInMemory", "warning", "5m",
        "{{ $labels.instance }}: {{ $labels.job }} cannot write its state directory",
        "dmvpn_agent_store_writable{$s} == 0",
    ),
)  # fmt: skip
BRIDGE = (
    Alert(
        "DmvpnBridgeDown", "critical", "1m",
        "{{ $labels.instance }}: Prometheus cannot scrape the bridge",
        'up{job="$bridge"} == 0 '
        'or (up{$s} == 0 and on (job, instance) last_over_time(dmvpn_agent_build_info{process="bridge",$s}[1d]))',
    ),
    Alert(
        "DmvpnBridgeWithoutClient", "critical", "1m",
        "{{ $labels.instance }}: nhrpd is not connected to the bridge",
        "dmvpn_agent_bridge_clients{$s} == 0",
    ),
    Alert(
        "DmvpnCertificateMissing", "warning", "",
        "{{ $labels.instance }}: the bridge found no certificate for a new IKE_SA",
        "increase(dmvpn_agent_bridge_certificates_missing_total{$s}[15m]) > 0",
    ),
    Alert(
        "DmvpnUpgradeRefused", "warning", "",
        "{{ $labels.instance }}: the bridge could not be upgraded: the installed program does not start",
        'increase(dmvpn_agent_bridge_upgrades_total{outcome=~"refused|failed",$s}[15m]) > 0',
    ),
    Alert(
        "DmvpnTriggerFailed", "warning", "",
        "{{ $labels.instance }}: the bridge cannot send the packet that starts an SA",
        'increase(dmvpn_agent_bridge_triggers_total{outcome="failed",$s}[15m]) > 0',
    ),
)  # fmt: skip
