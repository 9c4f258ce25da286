"""A hub and a spoke under traffic: rekeying, upgrades, and each daemon of the hub killed, all on the real ones.

Each bound is the sum of the timers that it names and of what the daemon takes to start in an emulated VM, some 10 s.
"""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

UPGRADED = "the bridges are upgraded under traffic: nothing is lost, nothing changes"
REKEYED = "CHILD_SA and IKE_SA are rekeyed every 10 s for a minute: nothing is lost, nhrpd sees no link down"
REAUTHENTICATED = "the spoke reauthenticates: hardly a packet is lost, nhrpd sees no link down"
AGENT = "the hub's agent is killed and comes back: nothing is lost, nothing changes"
NHRPD = "the hub's nhrpd is killed and comes back: the spoke is bound again"
BRIDGE = "the hub's bridge is killed and comes back: the spoke is bound again"
CHARON = "the hub's charon is killed and comes back: the spoke is there again"
BOUND = "10.255.0.11"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("bridge")


@pytest.mark.parametrize("step", [UPGRADED, REKEYED, AGENT])
def test_nothing_is_lost(report: Report, step: str) -> None:
    """An upgrade of both bridges, a minute of rekeying and the agent's end cost not one packet."""
    seen = report.evidence(step, "TrafficIntact")
    assert seen["lost"] == []
    assert seen["replies"] >= 10


def test_reauthentication_loses_next_to_nothing(report: Report) -> None:
    """What the responder sends by the new SA is lost until the initiator has verified its IKE_AUTH answer."""
    seen = report.evidence(REAUTHENTICATED, "TrafficIntact")
    assert len(seen["lost"]) <= 5
    assert seen["longest_gap_seconds"] <= 2


@pytest.mark.parametrize("node", ["hub", "spoke1"])
def test_upgrade_changes_nothing(report: Report, node: str) -> None:
    """nhrpd keeps its connection to a bridge that is upgraded: SAs, BGP session and routes are the same."""
    assert report.evidence(UPGRADED, "Log", on=node, words="bridge_taken_over")["lines"] >= 1
    report.evidence(UPGRADED, "Unchanged", on=node)


@pytest.mark.parametrize("event", ["child_rekeyed", "ike_rekeyed"])
def test_sas_were_rekeyed(report: Report, event: str) -> None:
    """In that minute there were six rekeyings of each kind."""
    name = f'dmvpn_agent_sa_events_total{{peer="spoke1",event="{event}"}}'
    assert report.evidence(REKEYED, "Metric", on="hub", name=name) >= 6


@pytest.mark.parametrize("step", [REKEYED, REAUTHENTICATED])
@pytest.mark.parametrize("node", ["hub", "spoke1"])
def test_nhrpd_sees_no_link_down(report: Report, step: str, node: str) -> None:
    """The bridge announces the new SA before the old one goes: no link goes down, nhrpd requests no binding again."""
    before = report.evidence(step, "Unchanged", on=node)["before"]
    assert all(before[kind] for kind in ("links", "decisions", "bgp_sessions", "routes"))


def test_spoke_reauthenticates(report: Report) -> None:
    """Reauthentication leaves another IKE_SA, and one only."""
    before = report.evidence(REAUTHENTICATED, "Unchanged", on="hub")["before"]["ike_sas"]
    now = report.evidence(REAUTHENTICATED, "SecurityAssociation", on="hub")
    assert len(now) == 1
    assert not before.keys() & {f"{sa['initiator_spi']}:{sa['responder_spi']}" for sa in now}


def test_agent_killed_changes_nothing(report: Report) -> None:
    """The agent's end changes no SA, session or route, and it knows its peers when it is back."""
    before = report.evidence(AGENT, "Unchanged", on="hub")["before"]
    assert all(before[kind] for kind in ("ike_sas", "child_sas", "bgp_sessions", "routes", "links", "decisions"))
    report.evidence(AGENT, "Peer", protocol_address=BOUND)


@pytest.mark.parametrize("step", [NHRPD, BRIDGE, CHARON])
def test_spoke_comes_back_by_itself(report: Report, step: str) -> None:
    """Whichever daemon of the hub was killed, the spoke has its binding, its BGP session and its LAN again."""
    report.evidence(step, "Binding", on="hub", protocol_address=BOUND)
    report.evidence(step, "Route", on="hub", prefix="192.168.1.0/24")
    report.evidence(step, "BgpSession", on="hub", to="spoke1")
    assert report.evidence(step, "TrafficIntact")["goes_on"]


def test_nhrpd_killed_cuts_traffic_for_half_a_minute_at_most(report: Report) -> None:
    """nhrpd connects to the bridge within 2 s, the agent waits for 5 s, the spoke registers, BGP connects in 5 s."""
    assert report.evidence(NHRPD, "TrafficIntact")["longest_gap_seconds"] <= 30


def test_bridge_killed_cuts_traffic_for_40_s_at_most(report: Report) -> None:
    """The same, and the bridge takes longer to start."""
    assert report.evidence(BRIDGE, "TrafficIntact")["longest_gap_seconds"] <= 40


def test_charon_killed_cuts_traffic_for_a_minute_at_most(report: Report) -> None:
    """The spoke notices after 15 s (``dpd_delay``) and 24 s of retransmissions, registers, BGP connects in 5 s."""
    assert report.evidence(CHARON, "TrafficIntact")["longest_gap_seconds"] <= 60


@pytest.mark.parametrize("node", ["hub", "spoke1"])
def test_every_daemon_lives(report: Report, node: str) -> None:
    """No daemon ended of what happened to the others."""
    assert report.evidence(CHARON, "Alive", on=node) == {"ended": []}
