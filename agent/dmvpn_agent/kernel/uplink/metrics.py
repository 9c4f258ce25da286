"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, each, gauge

UPLINK_USABLE = gauge("uplink_usable", "1 if the uplink has an address and a carrier, and its probes are answered.",
                       "interface")  # fmt: skip
UPLINK_CHOSEN = gauge("uplink_chosen", "1 if the tunnels use the uplink.", "interface")
UPLINK_PROBES = counter("uplink_probes", "Rounds of probes by uplink and outcome.", "interface", "outcome")
UPLINK_SWITCHES = counter("uplink_switches", "Times that an uplink was chosen in place of another one.", "interface")
TUNNEL_MOVES = counter("tunnel_moves", "Changes of a tunnel's local address.", "outcome",
                        starts=each(("moved", "failed")))  # fmt: skip
