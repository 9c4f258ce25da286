"""A certificate that was renewed and lost a NET, on the real daemons."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

BEFORE = "both prefixes of the certificate are taken, and reach the other spoke"
RENEWED = "spoke1's certificate is renewed without one NET: that prefix goes, the BGP session stays"
AFTER = "longer than BGP's hold time after that, all is as it was but for the one prefix"
LOST, KEPT = "192.168.66.0/24", "192.168.1.0/24"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("renewed")


@pytest.mark.parametrize("prefix", [LOST, KEPT])
def test_both_prefixes_were_there(report: Report, prefix: str) -> None:
    """Before the renewal the hub takes both prefixes of the certificate and gives them to the other spoke."""
    report.evidence(BEFORE, "Prefix", on="hub", prefix=prefix)
    report.evidence(BEFORE, "Prefix", on="spoke2", prefix=prefix)


def test_a_certificate_that_nhrpd_cannot_hold_is_judged(report: Report) -> None:
    """Of more than 4 KiB in PEM and 3000 bytes in DER; nhrpd holds none of 2048. The hub takes its NET."""
    assert report.evidence(BEFORE, "Command", on="hub")["printed"] == ["/run/lab/certificates/spoke2.pem"]
    report.evidence(BEFORE, "Decision", on="hub", protocol_address="10.255.0.12")
    assert report.evidence(BEFORE, "Prefix", on="hub", prefix="192.168.2.0/24")["received_from"] == ["10.255.0.12"]


def test_another_spoke_judges_such_a_certificate_too(report: Report) -> None:
    """There is a shortcut to who has it."""
    report.evidence(AFTER, "Decision", on="spoke1", protocol_address="10.255.0.12")
    report.evidence(AFTER, "Shortcut")


@pytest.mark.parametrize("step", [RENEWED, AFTER])
def test_prefix_that_the_certificate_lost_is_not_taken(report: Report, step: str) -> None:
    """The hub does not take a prefix that the new certificate lacks, although the spoke still announces it."""
    seen = report.evidence(step, "Prefix", on="hub", prefix=LOST)
    assert seen == {"announced_by_sender": True, "received_from": []}
    assert report.evidence(step, "Prefix", on="spoke2", prefix=LOST) == {"received_from": []}


def test_bgp_session_outlives_the_renewal(report: Report) -> None:
    """The hub's sessions are neither dropped nor established again, for longer than BGP's hold time of 15 s."""
    before = report.evidence(AFTER, "Unchanged", on="hub", kinds="('bgp_sessions',)")["before"]
    assert set(before["bgp_sessions"]) == {"10.255.0.11", "10.255.0.12"}


def test_prefix_that_stayed_in_the_certificate_is_kept(report: Report) -> None:
    """What the new certificate still has is on the hub and on the other spoke."""
    assert report.evidence(AFTER, "Prefix", on="hub", prefix=KEPT)["received_from"] == ["10.255.0.11"]
    assert report.evidence(AFTER, "Prefix", on="spoke2", prefix=KEPT)["received_from"] == ["10.255.0.1"]


def test_tunnel_is_back_before_bgp_gives_up(report: Report) -> None:
    """The IKE_SAs end and come again: the hole in the traffic is shorter than BGP's hold time of 15 s."""
    seen = report.evidence(RENEWED, "TrafficIntact")
    assert seen["goes_on"]
    assert seen["longest_gap_seconds"] < 15


def test_other_spoke_notices_nothing(report: Report) -> None:
    """A spoke whose certificate was not renewed keeps its SAs, its session and its routes."""
    before = report.evidence(AFTER, "Unchanged", on="hub", about="spoke2")["before"]
    assert all(before[kind] for kind in ("ike_sas", "child_sas", "bgp_sessions", "routes"))
