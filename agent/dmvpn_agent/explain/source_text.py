"""The sources that the source filter lets an accepted peer use, for people."""

from dmvpn_agent.kernel.nftables.source_filter import SourceFilter, carries
from dmvpn_agent.policy.peer import Peer


def source_summary(peer: Peer, settings: SourceFilter | None) -> str:
    """Return which sources a peer's packets may have, and what happens to others."""
    if settings is None:
        return "It may send from any source: source_filter.mode is off."
    others = f"source_filter.mode is {settings.mode}"
    if peer.quarantined:
        return f"It may send from no source, in quarantine ({others})."
    networks = dict.fromkeys(str(network) for network, _ in peer.announces)
    if peer.transit is not None and peer.default_route:
        networks |= {"0.0.0.0/0": None, "::/0": None}
    holes = [str(network) for network in peer.withheld] + (["this node's addresses"] if carries(peer) else [])
    but = f", but not from {', '.join(holes)}" if holes else ""
    return f"It may send from {', '.join([str(peer.protocol_address), *networks])}{but} ({others})."
