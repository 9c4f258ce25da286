"""The agent's gauges: how each is read from the parts that know."""

from collections import Counter

from dmvpn_agent.core import metrics
from dmvpn_agent.core.bgp_problem import BgpProblemKind
from dmvpn_agent.service.peers import Peers
from dmvpn_agent.service.reconciler import Reconciler
from dmvpn_agent.service.redirect import RedirectKeeper
from dmvpn_agent.service.telemetry import Samples, Telemetry


def observe_peers(telemetry: Telemetry, peers: Peers) -> None:
    """Export how many peers there are, and two series for each: whether it is bound, and who it is."""

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


def observe_reconciler(telemetry: Telemetry, reconciler: Reconciler) -> None:
    """Export how FRR stands against what is desired, and the sessions of our neighbors."""

    def established() -> Samples:
        return {(str(address),): float(session.state == "Established") for address, session in reconciler.sessions()}

    def prefixes() -> Samples:
        return {(str(address),): session.prefixes for address, session in reconciler.sessions()}

    def over_limit() -> float:
        return sum(session.over_limit for _, session in reconciler.sessions())

    def problems() -> Samples:
        count = Counter(problem.kind for problem in reconciler.problems)
        return {(str(kind),): count[kind] for kind in BgpProblemKind}

    telemetry.observe(metrics.BGP_PROBLEMS, problems)
    telemetry.observe(metrics.PENDING_CHANGES, lambda: len(reconciler.pending))
    telemetry.observe(metrics.FOREIGN_NEIGHBORS, lambda: len(reconciler.foreign))
    telemetry.observe(metrics.ORPHAN_NEIGHBORS, lambda: len(reconciler.orphans))
    telemetry.observe(metrics.LAST_SYNC, lambda: reconciler.last_sync.timestamp() if reconciler.last_sync else 0)
    telemetry.observe(metrics.NEIGHBOR_ESTABLISHED, established)
    telemetry.observe(metrics.NEIGHBOR_PREFIXES, prefixes)
    telemetry.observe(metrics.NEIGHBORS_OVER_LIMIT, over_limit)


def observe_redirect(telemetry: Telemetry, keeper: RedirectKeeper) -> None:
    """Export whether the redirect rule stands, and what it logged."""
    telemetry.observe(metrics.REDIRECT_INSTALLED, lambda: keeper.installed)
    telemetry.observe(metrics.REDIRECT_PACKETS, lambda: keeper.packets)
