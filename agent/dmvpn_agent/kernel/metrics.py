"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

REDIRECT_INSTALLED = gauge("redirect_rule_installed", "1 if the redirect rule was in place at the last check.")
REDIRECT_INSTALLS = counter("redirect_rule_installs", "Writes of the redirect rule by cause.", "cause")
REDIRECT_FAILURES = counter("redirect_rule_failures", "Failures of nft to read or write the redirect rule.")
REDIRECT_PACKETS = gauge("redirect_rule_packets", "Packets that the rule logged to nhrpd since it was last written.")
TUNNEL_UP = gauge("tunnel_interface_up", "1 if the tunnel interface exists and is up.", "interface")
KERNEL_EVENTS = counter("kernel_events", "Netlink notifications by kind, after those of no interest.", "kind")
KERNEL_RESYNCS = counter("kernel_resyncs", "Times all links and addresses were read, by cause.", "cause")
