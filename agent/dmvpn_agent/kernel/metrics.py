"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, each, gauge

NFTABLES_INSTALLED = gauge("nftables_installed", "1 if the agent's nftables table was as desired at the last check.")
NFTABLES_WRITES = counter(
    "nftables_writes",
    "Writes of the agent's nftables table by cause.",
    "cause",
    starts=each(("changed", "elements", "missing", "settings", "start")),
)
NFTABLES_FAILURES = counter("nftables_failures", "Failures of nft to read or write the agent's table.")
PEER_PACKETS = counter("peer_packets", "Packets through the tunnel from a peer, from a source that it may use.",
                       "peer")  # fmt: skip
PEER_BYTES = counter("peer_bytes", "Bytes of these packets.", "peer")
PEER_SPOOFED = counter(
    "peer_spoofed_packets", "Packets through the tunnel from a source that the peer may not use.", "peer"
)
UNKNOWN_SENDER = counter("unknown_sender_packets", "Packets through the tunnel from an NBMA address of no peer.")
SOURCE_FILTER = gauge("source_filter", "1 for the mode in which the source filter works now.", "mode")
GRE_GUARD = gauge("gre_guard", "1 for the mode in which the GRE guard works now.", "mode")
CLEAR_GRE = counter("clear_gre_packets", "GRE packets of the tunnels without IPsec.", "direction",
                    starts=each(("received", "sent")))  # fmt: skip
MSS_CLAMPED = counter("mss_clamped_packets", "TCP packets that begin a connection through a tunnel.")
GROUP_PACKETS = counter(
    "group_packets", "Packets that a rule of policy.groups decided about; 0 is the default.", "rule", "verdict"
)
FILTER_MISSING = gauge(
    "filter_missing",
    "1 if the filter is configured and was not in the agent's nftables table at the last check.",
    "filter",
)
REDIRECT_INSTALLED = gauge("redirect_rule_installed", "1 if the redirect rule was in place at the last check.")
REDIRECT_PACKETS = counter("redirect_packets", "Packets that the redirect rule logged to nhrpd.")
MULTICAST_INSTALLED = gauge("multicast_rule_installed", "1 if the multicast rule was in place at the last check.")
MULTICAST_PACKETS = counter("multicast_packets", "Multicast packets of this node that were given to nhrpd.")
TUNNEL_UP = gauge("tunnel_interface_up", "1 if the tunnel interface exists and is up.", "interface")
KERNEL_EVENTS = counter("kernel_events", "Netlink notifications by kind, after those of no interest.", "kind")
KERNEL_RESYNCS = counter("kernel_resyncs", "Times all links and addresses were read, by cause.", "cause")
TUNNEL_REPAIRS = counter(
    "tunnel_repairs", "Changes at tunnel interfaces that the agent took back, by cause.", "cause"
)
TUNNEL_FAILURES = counter("tunnel_failures", "Changes at tunnel interfaces that the kernel refused, by kind.", "kind")
TUNNEL_IN_SYNC = gauge("tunnel_in_sync", "1 if the tunnel interface is as in [tunnel.NAME].", "interface")
UPLINK_USABLE = gauge("uplink_usable", "1 if the uplink has an address and a carrier, and its probes are answered.",
                       "interface")  # fmt: skip
UPLINK_CHOSEN = gauge("uplink_chosen", "1 if the tunnels use the uplink.", "interface")
UPLINK_PROBES = counter("uplink_probes", "Rounds of probes by uplink and outcome.", "interface", "outcome")
UPLINK_SWITCHES = counter("uplink_switches", "Times that an uplink was chosen in place of another one.", "interface")
TUNNEL_MOVES = counter("tunnel_moves", "Changes of a tunnel's local address.", "outcome",
                        starts=each(("moved", "failed")))  # fmt: skip
STALE_ENTRIES = counter("stale_entries", "Entries of nhrpd's in the kernel that nhrpd did not know, removed.", "kind",
                        starts=each(("neighbour", "route")))  # fmt: skip
ROUTES = gauge("routes", "Routes in the agent's own tables.")
ROUTE_CHANGES = counter("route_changes", "Changes of the agent's routes and rules by kind.", "kind",
                        starts=each(("add", "remove")))  # fmt: skip
ROUTE_FAILURES = counter("route_failures", "Passes in which the kernel refused to show or change the agent's routes.")
IPTABLES_INSTALLED = gauge(
    "iptables_installed", "1 if the agent's chains of iptables were as desired at the last check."
)
IPTABLES_WRITES = counter("iptables_writes", "Writes of the agent's chains of iptables by cause.", "cause",
                          starts=each(("changed", "missing", "settings", "start")))  # fmt: skip
IPTABLES_FAILURES = counter("iptables_failures", "Failures of iptables to read or write one of the agent's chains.")
