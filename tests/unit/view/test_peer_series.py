"""What is exported of each peer."""

from dataclasses import replace
from datetime import timedelta

from dmvpn_agent.bgp.sessions import Session
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.sa import Traffic
from dmvpn_agent.runtime.metrics import Kind, Metric
from dmvpn_agent.runtime.telemetry import Samples, Telemetry
from dmvpn_agent.view import metrics
from dmvpn_agent.view.join import join
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.peer_series import PeerSeries
from dmvpn_agent.view.settings import ExpectedPeer
from dmvpn_agent.view.sources import Sources
from dmvpn_agent.view.stage import Stage
from factories import NOW
from joining import bgp, denial, identity, member, sa, sources

UP = Session("Established", 3, since=NOW - timedelta(hours=1), drops=2)


def _series(found: Sources) -> dict[Metric, Samples]:
    peers = join(found)
    return PeerSeries(lambda: peers).read()


def test_every_series_of_a_peer_has_its_name_as_the_label_peer() -> None:
    """One word for one thing: joins between them are one to one."""
    found = sources(
        1,
        sas=(replace(one := sa(1), sa=replace(one.sa, established_at=NOW)),),
        bgp=bgp((member(1),), spoke1=UP),
        traffic={("dmvpn", identity(1)): Traffic(1, 2, 3, 4)},
        sa_events={("dmvpn", identity(1)): dict.fromkeys(SaEventKind, 0)},
    )
    series = _series(found)
    for metric, samples in series.items():
        if "peer" in metric.labels and samples:
            assert {labels[metric.labels.index("peer")] for labels in samples} == {"spoke1"}
    assert series[metrics.PEER_UP] == {("spoke1",): 1}
    assert series[metrics.SA_BYTES] == {("spoke1", "in"): 1, ("spoke1", "out"): 3}
    assert series[metrics.SA_PACKETS] == {("spoke1", "in"): 2, ("spoke1", "out"): 4}
    assert len(series[metrics.SA_EVENTS]) == len(SaEventKind)
    assert series[metrics.BGP_ACCEPTED] == {("spoke1",): 3}
    assert series[metrics.BGP_DROPS] == {("spoke1",): 2}
    assert series[metrics.BGP_ESTABLISHED_SINCE] == {("spoke1",): UP.since.timestamp() if UP.since else 0}
    assert series[metrics.IKE_SA_ESTABLISHED] == {("spoke1",): NOW.timestamp()}
    ((info, _),) = series[metrics.PEER_INFO].items()
    assert info[:6] == ("spoke1", "spoke", "gre1", "10.255.0.1", "203.0.113.1", "64513")


def test_a_peer_has_one_stage_and_the_stages_are_counted() -> None:
    """A stage that it left has no series."""
    series = _series(sources(1, denials=(denial(2),)))
    assert series[metrics.PEER_STAGE] == {("spoke1", "up"): 1, ("spoke2", "denied"): 1}
    assert series[metrics.PEERS_AT_STAGE] == {(str(stage),): stage in {Stage.UP, Stage.DENIED} for stage in Stage}


def test_an_expected_peer_that_is_absent_is_a_series_of_value_0() -> None:
    """Without the series of what it does not have."""
    series = _series(sources(1, expected=(ExpectedPeer("spoke1"), ExpectedPeer("spoke9"))))
    assert series[metrics.PEER_UP] == {("spoke1",): 1, ("spoke9",): 0}
    assert series[metrics.PEER_EXPECTED] == {("spoke1",): 1, ("spoke9",): 1}
    assert series[metrics.PEERS_EXPECTED] == {("up",): 1, ("absent",): 1, ("unknown",): 0}
    for metric in (metrics.PEER_BOUND, metrics.BGP_ESTABLISHED, metrics.PEER_LAST_SEEN):
        assert ("spoke9",) not in series[metric]


def test_what_bgpd_would_show_has_no_series_while_it_cannot_be_read() -> None:
    """A session of value 0 would be a false alarm for each peer, and so would an absent one."""
    unread = replace(bgp((member(1),), spoke1=UP), sessions=None)
    series = _series(sources(1, bgp=unread, expected=(ExpectedPeer("spoke1"),)))
    assert series[metrics.PEER_STAGE] == {("spoke1", "unknown"): 1}
    assert series[metrics.BGP_ESTABLISHED] == series[metrics.BGP_ACCEPTED] == {}
    assert series[metrics.PEERS_EXPECTED] == {("absent",): 0, ("unknown",): 1, ("up",): 0}


def test_peers_in_quarantine_are_counted() -> None:
    """They are up, and have no session."""
    one = member(1)
    shut = replace(one, peer=one.peer.in_quarantine())
    series = _series(sources(members=(shut,), cache=(shut.request,), sas=(sa(1),), bgp=bgp(())))
    assert series[metrics.QUARANTINED_PEERS] == {(): 1}
    assert series[metrics.PEER_UP] == {("spoke1",): 1}


def test_a_peer_without_ike_sa_for_ten_minutes_has_no_traffic() -> None:
    """Its series end; those of all peers go on."""
    series = _series(sources(1, sas=()))
    assert series[metrics.SA_BYTES] == series[metrics.SA_EVENTS] == {}


def test_above_the_limit_peers_have_no_series() -> None:
    """Those that have them keep them, expected ones come first, and the others are counted."""
    peers: tuple[JoinedPeer, ...] = join(sources(2, 3, expected=(ExpectedPeer("spoke9"),)))
    series = PeerSeries(lambda: peers, limit=2)
    assert set(series.read()[metrics.PEER_UP]) == {("spoke9",), ("spoke2",)}
    peers = join(sources(1, 2, 3, expected=(ExpectedPeer("spoke9"),)))
    assert set(series.read()[metrics.PEER_UP]) == {("spoke9",), ("spoke2",)}
    assert series.read()[metrics.PEERS_WITHOUT_SERIES] == {(): 2}
    assert sum(series.read()[metrics.PEERS_AT_STAGE].values()) == 4


def test_the_series_are_made_once_for_each_view() -> None:
    """A second scrape of the same view costs nothing."""
    peers = join(sources(1))
    series = PeerSeries(lambda: peers)
    assert series.read() is series.read()


def test_all_metrics_of_peers_are_exported_with_certificates_apart() -> None:
    """A counter of a peer is one for Prometheus too."""
    telemetry, peers = Telemetry(), join(sources(1))
    PeerSeries(lambda: peers).observe(telemetry)
    exported = {family.metric for family in telemetry.families()}
    defined = {one for one in vars(metrics).values() if isinstance(one, Metric)}
    assert defined - exported == {metrics.CERTIFICATE_NOT_AFTER, metrics.STAGE_CHANGES}
    assert metrics.SA_BYTES.kind is metrics.PEER_FLAPS.kind is metrics.BGP_DROPS.kind is Kind.COUNTER
