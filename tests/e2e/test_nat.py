"""Two spokes behind one NAT address, on the real daemons: the first is served, the second refused."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

ACCEPTED = "a spoke behind NAT is accepted"
SHORTCUT = "its LAN reaches another's without the hub"
SECOND = "a second spoke behind the same NAT address is kept out, and the log says why and what to do"
LEAVES = "the first spoke leaves, and the second is accepted"
SERVED = "and served"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("nat")


def test_spoke_behind_nat_is_accepted(report: Report) -> None:
    """A spoke behind NAT has its SA, its BGP session, and its LAN in the others' tables."""
    report.evidence(ACCEPTED, "Decision", on="hub", decision="accept", protocol_address="10.255.0.11")
    report.evidence(ACCEPTED, "BgpSession", on="hub", to="spoke1")
    assert report.evidence(ACCEPTED, "Prefix", on="spoke3", prefix="192.168.1.0/24")["received_from"]
    assert report.evidence(ACCEPTED, "Prefix", on="spoke1", prefix="192.168.3.0/24")["received_from"]


def test_hub_sees_the_address_of_the_nat(report: Report) -> None:
    """The hub's SA with it is one with the router's outside address."""
    sas = report.evidence(ACCEPTED, "SecurityAssociation", on="hub", to="spoke1")
    assert {sa["remote_host"] for sa in sas} == {"203.0.113.50"}


def test_shortcut_through_nat(report: Report) -> None:
    """Traffic from behind the NAT to a spoke outside it goes direct within 10 packets; one is lost at most."""
    seen = report.evidence(SHORTCUT, "Shortcut")
    assert seen["first_direct_packet"] <= 10
    assert len(seen["lost_after_direct"]) <= 1


def test_second_behind_the_same_address_is_refused(report: Report) -> None:
    """nhrpd knows peers by address without port: a second one there is kept out, and the log says why."""
    assert report.evidence(SECOND, "Log", words="peer_silenced")["lines"] >= 1
    report.evidence(SECOND, "Binding", on="hub", protocol_address="10.255.0.12", present="False")
    report.evidence(SECOND, "BgpSession", on="hub", to="spoke2", state="absent")


def test_first_is_undisturbed_by_the_second(report: Report) -> None:
    """Who was there first keeps its SAs, its BGP session and its routes."""
    before = report.evidence(SECOND, "Unchanged", about="spoke1")["before"]
    assert all(before[kind] for kind in ("ike_sas", "child_sas", "bgp_sessions", "routes"))


def test_second_is_served_once_the_first_is_gone(report: Report) -> None:
    """When the first spoke has left, the second is unblocked and accepted, and its LAN is routed."""
    assert report.evidence(LEAVES, "Log", words="peer_heard_again")["lines"] >= 1
    report.evidence(SERVED, "Decision", on="hub", decision="accept", protocol_address="10.255.0.12")
    report.evidence(SERVED, "BgpSession", on="hub", to="spoke2")
    assert report.evidence(SERVED, "Prefix", on="hub", prefix="192.168.2.0/24")["received_from"]
