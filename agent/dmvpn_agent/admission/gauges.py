"""The gauges of the accepted peers."""

from collections import Counter

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def observe_peers(telemetry: Telemetry, peers: Peers) -> None:
    """Export the number of peers, and two series for each: whether it is bound, and its identity."""

    def states() -> Samples:
        count = Counter("bound" if member.absent_since is None else "absent" for member in peers.memberships())
        return {(state,): count[state] for state in ("bound", "absent")}

    def bound() -> Samples:
        return {
            (str(member.peer.protocol_address),): float(member.absent_since is None) for member in peers.memberships()
        }

    def info() -> Samples:
        return {
            (str(peer.protocol_address), str(peer.nbma_address), str(peer.as_number or ""), peer.subject): 1
            for peer in (member.peer for member in peers.memberships())
        }

    telemetry.observe(metrics.PEERS, states)
    telemetry.observe(metrics.PEER_BOUND, bound)
    telemetry.observe(metrics.PEER_INFO, info)
