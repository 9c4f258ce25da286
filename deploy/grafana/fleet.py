"""All nodes and peers at a glance."""

from panels import AGENTS, NODES, Board, Panel, graph, increase, metric, rate, stage_number, stat

#: The alerts that fire for the selected nodes.
ALERTS = 'ALERTS{alertname=~"Dmvpn.+",alertstate="firing",instance=~"$instance"}'

FLEET = Board("dmvpn-fleet", "DMVPN fleet", (
    ("Now", (
        stat("Agents up", f"sum(up{{{NODES}}} and on (job, instance) {AGENTS})",
             "Agents that Prometheus scrapes."),
        stat("Peers up", f"sum({metric('peers_expected', state='up')})", "Expected peers at the stage up."),
        stat("Peers absent", f"sum({metric('peers_expected', state='absent')})",
             "Expected peers that are not up.", limits=(1, 10)),
        stat("Denied", f"sum({metric('denied_peers')})", "Denials in memory.", limits=(1, 20)),
        stat("Revoked, present", f"sum({metric('revoked_peers_present')})",
             "Revoked peers with an IKE_SA, binding or neighbor.", limits=(1, 1)),
        stat("Firing alerts", f"count({ALERTS}) or vector(0)",
             "Alerts of the selected nodes.", limits=(1, 5)),
        stat("Traffic", f"8 * sum({rate('ipsec_bytes_total')})", "Bits through all tunnels, both ways.", unit="bps"),
        stat("Without series", f"sum({metric('peers_without_series')})", "Peers above the limit of series.",
             limits=(1, 100)),
    )),
    ("Nodes", (
        Panel("table", "Nodes", "One line for each node; click to open the hub's dashboard.", (
            (f"max by (instance, version) ({metric('build_info', process='agent')})", "agent"),
            (f"max by (instance) ({metric('event_connections_open')})", "nhrpd"),
            (f"min by (instance) ({metric('vici_connected')})", "charon"),
            (f"min by (instance) ({metric('source_up')})", "sources"),
            (f"time() - max by (instance) ({metric('last_sync_timestamp_seconds')})", "FRR age (s)"),
            (f"sum by (instance) ({metric('peers_expected', state='up')})", "up"),
            (f"sum by (instance) ({metric('peers_expected', state='absent')})", "absent"),
            (f"sum by (instance) ({metric('denied_peers')})", "denied"),
            (f"8 * sum by (instance) ({rate('ipsec_bytes_total')})", "bit/s"),
        ), width=16, link="dmvpn-hub"),
        Panel("table", "Firing alerts", "docs/runbook.md has a section for each.",
              ((ALERTS, "alert"),), width=8, key="",
              empty="none"),
    )),
    ("Peers", (
        Panel("timeline", "Stages", "Each peer on each node: how far it has come. Click to open the peer.",
              ((stage_number(), "{{peer}} on {{instance}}"),), width=24, height=14, link="dmvpn-peer"),
        graph("Peers by stage", "All selected nodes.",
              (f"sum by (stage) ({metric('peers_at_stage')})", "{{stage}}"), stacked=True),
        graph("Stage changes", "Peers that came to a stage.",
              (increase("stage", "peer_stage_changes_total"), "{{stage}}")),
        graph("Expected peers", "Up, absent, or unknown: a daemon cannot be read; and those in quarantine.",
              (f"sum by (state) ({metric('peers_expected')})", "{{state}}"),
              (f"sum({metric('quarantined_peers')})", "in quarantine")),
        graph("Denials", "By reason.",
              (increase("reason", "decisions_total", decision="deny") + " > 0", "{{reason}}"), empty="none"),
        Panel("bars", "Top talkers", "Bits to and from a peer, both ways.",
              ((f"topk(10, 8 * sum by (peer) ({rate('sa_bytes_total')}))", "{{peer}}"),), "bps"),
    )),
    ("Certificates", (
        Panel("table", "Next to expire", "Certificates of peers, of the nodes and of CAs.", (
            (f"sort(bottomk(20, min by (kind, peer, subject) ({metric('certificate_not_after_timestamp_seconds')})"
             " - time()))", "left"),
        ), "s", width=12, key=""),
        graph("CRLs good for", "Time until the nextUpdate of the CRL in force.",
              (f"min by (issuer) ({metric('crl_next_update_timestamp_seconds')} - time())", "{{issuer}}"), unit="s"),
        graph("Versions", "Nodes by version.", (f"count by (version) ({metric('build_info')})", "{{version}}"),
              stacked=True),
        graph("Renewal", "Time until each node renews its certificate, and since it did.",
              (f"min by (instance) ({metric('renewal_due_timestamp_seconds')}) - time()", "{{instance}} due in"),
              (f"time() - max by (instance) ({metric('renewal_success_timestamp_seconds')})", "{{instance}} renewed"),
              unit="s", empty="not configured"),
        graph("Failed renewals", "Attempts since the last success.",
              (f"max by (instance) ({metric('renewal_failures')})", "{{instance}}"), empty="not configured"),
        graph("CRLs fetched", "Requests by outcome.", (increase("outcome", "crl_fetches_total"), "{{outcome}}"),
              empty="not configured"),
        graph("CRLs, last fetched", "Since an address answered with a usable CRL.",
              (f"time() - max by (url) ({metric('crl_fetch_success_timestamp_seconds')})", "{{url}}"),
              unit="s", empty="not configured"),
    )),
))  # fmt: skip
