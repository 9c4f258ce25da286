"""One spoke: its hubs, failover and shortcuts."""

from panels import HUBS, Board, Panel, graph, increase, metric, rate, stage_number, stat

SPOKE = Board("dmvpn-spoke", "DMVPN spoke", (
    ("Now", (
        stat("Hubs up", f"sum({metric('peer_up')} and on (job, instance, peer) {HUBS})", "Hubs at the stage up."),
        stat("nhrpd", f"min({metric('event_connections_open')} > bool 0)", "nhrpd is connected to the agent.",
             good=("connected", "AWAY")),
        stat("charon", f"min({metric('vici_connected')})", "The agent is connected to charon.",
             good=("connected", "AWAY")),
        stat("Tunnel", f"min({metric('tunnel_interface_up')})", "The tunnel interface is up.", good=("up", "DOWN")),
        stat("Shortcuts", f"sum({metric('nhrp_shortcuts')})", "Networks that are reached directly."),
        stat("Certificate, left", f"min({metric('certificate_not_after_timestamp_seconds', kind='own')} - time())",
             "Until this node's own certificate expires.", unit="s"),
        stat("Received", f"8 * sum({rate('ipsec_bytes_total', direction='in')})", "Through all tunnels.",
             unit="bps"),
        stat("Sent", f"8 * sum({rate('ipsec_bytes_total', direction='out')})", "Through all tunnels.", unit="bps"),
    )),
    ("Failover", (
        Panel("timeline", "Hubs", "The stage of each hub, seen from this node.",
              ((f"({stage_number()}) and on (instance, peer) {HUBS}", "{{peer}} from {{instance}}"),), width=24,
              link="dmvpn-peer"),
        graph("Traffic by hub", "Bits both ways: which hub carries the site.",
              (f"8 * sum by (instance, peer) ({rate('sa_bytes_total')} and on (job, instance, peer) {HUBS})",
               "{{peer}}"), unit="bps", width=12, stacked=True),
        graph("Prefixes by hub", "Accepted from each hub.",
              (f"{metric('bgp_prefixes_accepted')} and on (job, instance, peer) {HUBS}", "{{peer}}"), width=12),
    )),
    ("Hub $hub", (
        stat("Stage", f"max({stage_number(peer='~$hub')})", "How far the hub has come.", width=6, height=8),
        graph("Traffic", "Bits from and to it.", (f"8 * {rate('sa_bytes_total', peer='~$hub')}", "{{direction}}"),
              unit="bps"),
        graph("BGP", "1 if the session is Established, and its uptime in days.",
              (metric("bgp_established", peer="~$hub"), "established"),
              (f"(time() - {metric('bgp_established_timestamp_seconds', peer='~$hub')}) / 86400", "days")),
        graph("SA events", "Closed and installed again and again: the path loses packets.",
              (increase("event", "sa_events_total", peer="~$hub") + " > 0", "{{event}}"), empty="none"),
    )),
    ("Shortcuts", (
        graph("Shortcuts", "Networks by the peer that they lead to.",
              (f"{metric('peer_shortcuts')} > 0", "{{peer}}"), width=12, empty="none"),
        graph("Traffic by shortcut", "Bits both ways with other spokes.",
              (f"8 * sum by (peer) ({rate('sa_bytes_total')} unless on (job, instance, peer) {HUBS})", "{{peer}}"),
              unit="bps", width=12),
    )),
), ("hub", "Hub", f"label_values({HUBS}, peer)"))  # fmt: skip
