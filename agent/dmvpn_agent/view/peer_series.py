"""The series of the peers, from the joined view as it was last made: no part is asked."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import ChildSa
from dmvpn_agent.runtime.metrics import Metric
from dmvpn_agent.runtime.telemetry import Labels, Samples, Telemetry
from dmvpn_agent.view import metrics
from dmvpn_agent.view.peer import Expectation, JoinedPeer
from dmvpn_agent.view.stage import SESSION_UNKNOWN, Stage

#: Peers with series of their own; each has about 30.
LIMIT = 5000

Series = dict[Metric, Samples]

_OF_PEERS = tuple(
    value
    for value in vars(metrics).values()
    if isinstance(value, Metric) and value not in {metrics.CERTIFICATE_NOT_AFTER, metrics.STAGE_CHANGES}
)


class PeerSeries:
    """Makes the series of ``peers()``, once for each tuple that it returns.

    Above ``limit`` peers, those that have series keep them, and expected peers come before others.
    """

    def __init__(self, peers: Callable[[], Sequence[JoinedPeer]], *, limit: int = LIMIT) -> None:
        self._peers = peers
        self._limit = limit
        self._of: Sequence[JoinedPeer] | None = None
        self._series: Series = {}
        self._names: dict[Address, str] = {}
        self._shown: frozenset[str] = frozenset()

    def observe(self, telemetry: Telemetry) -> None:
        """Export the series; ``certificate_not_after`` has series of other certificates too, and is read apart."""
        telemetry.observe_together(_OF_PEERS, self.read)

    def read(self) -> Series:
        """Return the samples of each metric, and of the peers' certificates."""
        peers = self._peers()
        if peers is not self._of:
            self._series, self._of = self._made(peers), peers
        return self._series

    def name_of(self, address: Address) -> str:
        """Return the name of the peer with a protocol address; the address if there is none."""
        self.read()
        return self._names.get(address) or str(address)

    def _made(self, peers: Sequence[JoinedPeer]) -> Series:
        shown = self._within_limit(peers)
        self._shown = frozenset(peer.key for peer in shown)
        self._names = {address: peer.name for peer in shown for address in peer.protocol_addresses}
        series: Series = {metric: {} for metric in (*_OF_PEERS, metrics.CERTIFICATE_NOT_AFTER)}
        for peer in shown:
            label = (peer.name,)  # one for all series of the peer: a thousand peers have 20,000
            for add in (_add_stage, _add_binding, _add_sas, _add_traffic, _add_bgp):
                add(series, peer, label)
        series[metrics.PEERS_WITHOUT_SERIES] = {(): len(peers) - len(shown)}
        at_stage = Counter(peer.stage for peer in peers)
        series[metrics.PEERS_AT_STAGE] = {(str(stage),): at_stage[stage] for stage in Stage}
        expected = Counter(_presence(peer) for peer in peers if peer.expected is not Expectation.NO)
        series[metrics.PEERS_EXPECTED] = {(state,): expected[state] for state in _PRESENCES}
        series[metrics.QUARANTINED_PEERS] = {(): sum(peer.quarantined for peer in peers)}
        return series

    def _within_limit(self, peers: Sequence[JoinedPeer]) -> Sequence[JoinedPeer]:
        if len(peers) <= self._limit:
            return peers
        ordered = sorted(peers, key=lambda peer: (peer.key not in self._shown, peer.expected is Expectation.NO))
        return ordered[: self._limit]


#: Whether an expected peer is there: the label of ``peers_expected``.
_PRESENCES = ("absent", "unknown", "up")


def _presence(peer: JoinedPeer) -> str:
    return {Stage.UP: "up", Stage.UNKNOWN: "unknown"}.get(peer.stage, "absent")


def _add_stage(series: Series, peer: JoinedPeer, label: Labels) -> None:
    series[metrics.PEER_UP][label] = int(peer.up)
    series[metrics.PEER_STAGE][peer.name, str(peer.stage)] = 1
    series[metrics.PEER_EXPECTED][label] = int(peer.expected is not Expectation.NO)
    series[metrics.PEER_FLAPS][label] = peer.flaps
    _add_time(series[metrics.PEER_LAST_SEEN], label, peer.last_seen)
    _add_time(series[metrics.PEER_STAGE_SINCE], label, peer.since)


def _add_binding(series: Series, peer: JoinedPeer, label: Labels) -> None:
    address, nbma = peer.protocol_address, peer.nbma_address
    series[metrics.PEER_INFO][
        peer.name,
        str(peer.kind or ""),
        peer.interface,
        str(address or ""),
        str(nbma or ""),
        str(peer.as_number or ""),
        peer.subject,
    ] = 1
    if peer.accepted:
        bound = any(binding.absent_since is None for binding in peer.bindings)
        series[metrics.PEER_BOUND][label] = int(bound)
        series[metrics.PEER_SHORTCUTS][label] = len(peer.shortcuts)
    if peer.not_after is not None:
        series[metrics.CERTIFICATE_NOT_AFTER]["peer", peer.name, ""] = peer.not_after.timestamp()


def _add_sas(series: Series, peer: JoinedPeer, label: Labels) -> None:
    established = [sa for sa in peer.ike_sas if sa.established]
    children = [child for sa in established for child in sa.children if child.installed]
    _add_time(series[metrics.IKE_SA_ESTABLISHED], label, _latest(sa.established_at for sa in established))
    _add_time(series[metrics.IKE_SA_REPLACEMENT], label, _latest(sa.replacement_due for sa in established))
    _add_time(series[metrics.CHILD_SA_REKEY], label, _latest_of(children, "rekey_due"))
    _add_time(series[metrics.CHILD_SA_EXPIRES], label, _latest_of(children, "expires"))


def _add_traffic(series: Series, peer: JoinedPeer, label: Labels) -> None:
    if not peer.sa_events:  # it had no IKE_SA in the last ten minutes
        return
    traffic, received, sent = peer.traffic, (*label, "in"), (*label, "out")
    series[metrics.SA_BYTES][received] = traffic.bytes_in
    series[metrics.SA_BYTES][sent] = traffic.bytes_out
    series[metrics.SA_PACKETS][received] = traffic.packets_in
    series[metrics.SA_PACKETS][sent] = traffic.packets_out
    for event, count in peer.sa_events.items():
        series[metrics.SA_EVENTS][peer.name, event] = count


def _add_bgp(series: Series, peer: JoinedPeer, label: Labels) -> None:
    bgp = peer.bgp
    if bgp is None or bgp.state == SESSION_UNKNOWN:
        return
    series[metrics.BGP_ESTABLISHED][label] = int(bgp.established)
    series[metrics.BGP_DROPS][label] = bgp.drops
    series[metrics.BGP_ACCEPTED][label] = bgp.accepted
    if bgp.filtered is not None:
        series[metrics.BGP_FILTERED][label] = bgp.filtered
    _add_time(series[metrics.BGP_ESTABLISHED_SINCE], label, bgp.since)


def _add_time(samples: Samples, label: Labels, time: datetime | None) -> None:
    if time is not None:
        samples[label] = time.timestamp()


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    """Return the latest time: that of the SA which replaced the others."""
    return max((time for time in times if time is not None), default=None)


def _latest_of(children: Iterable[ChildSa], attribute: str) -> datetime | None:
    return _latest(map(attrgetter(attribute), children))
