"""The metrics of this folder; docs/metrics.md explains them."""

from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.runtime.metrics import counter, each, gauge

IKE_SAS_ENDED = counter(
    "ike_sas_ended",
    "IKE_SAs that the agent ended, by cause and outcome.",
    "cause",
    "outcome",
    starts=each(
        ("readmitted", "unbound", "hub_restarted", "unregistered", "address_gone", *Reason), ("failed", "gone")
    ),
)
SILENCED_PEERS = gauge(
    "silenced_peers", "Peers whose packets are dropped because another peer is behind the same NAT address."
)
SILENCES = counter(
    "peer_silences",
    "Times that a peer behind another one's NAT address was silenced, by outcome.",
    "outcome",
    starts=each(("silenced", "ended", "failed")),
)
REVOKED_PRESENT = gauge("revoked_peers_present", "Revoked peers that still have an IKE_SA, binding or neighbor.")
HUB_NAMES = counter("hub_names", "Times that nhrpd was made to resolve a hub's DNS name again.", "outcome",
                     starts=each(("resolved", "failed")))  # fmt: skip
STALE_SAS = counter("stale_sas", "SAs of a killed charon in the kernel that the agent deleted.", "outcome",
                    starts=each(("deleted", "failed")))  # fmt: skip
