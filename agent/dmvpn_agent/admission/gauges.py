"""The gauges of the accepted peers and of nhrpd's tables."""

from collections import Counter

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime.telemetry import Samples, Telemetry


def observe_peers(telemetry: Telemetry, peers: Peers) -> None:
    """Export the number of bound and absent peers; ``view`` has the series of each."""

    def states() -> Samples:
        count = Counter("bound" if member.absent_since is None else "absent" for member in peers.memberships())
        return {(state,): count[state] for state in ("bound", "absent")}

    telemetry.observe(metrics.PEERS, states)


def observe_nhrpd(telemetry: Telemetry, nhrpd: FrrNhrpd) -> None:
    """Export the size of nhrpd's tables."""

    def entries() -> Samples:
        count = sum(nhrpd.entries.values(), Counter[str]())
        return {(str(kind),): count[kind] for kind in BindingType}

    telemetry.observe(metrics.NHRP_CACHE_ENTRIES, entries)
    telemetry.observe(metrics.NHRP_SHORTCUTS, lambda: sum(map(len, nhrpd.shortcuts().values())))
