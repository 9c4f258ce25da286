"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.runtime.metrics import counter, gauge

IKE_SAS_ENDED = counter("ike_sas_ended", "IKE_SAs that the agent ended, by cause and outcome.", "cause", "outcome")
SILENCED_PEERS = gauge(
    "silenced_peers", "Peers whose packets are dropped because another peer is behind the same NAT address."
)
REVOKED_PRESENT = gauge("revoked_peers_present", "Revoked peers that still have an IKE_SA, binding or neighbor.")
