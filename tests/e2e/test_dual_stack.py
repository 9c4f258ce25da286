"""A tunnel with both IP versions, on the real daemons: each spoke is bound twice, and is one neighbor."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

BOUND = "both addresses of each spoke are bound, and each is one neighbor"
DIRECT = {
    False: "a ping from LAN to LAN starts through the hub and goes direct, by IPv4",
    True: "and by IPv6",
}
MOVED = "spoke1 loses its IPv4 address on the tunnel: its neighbor at the hub moves to the IPv6 address"
REVOKED = "spoke2's certificate is revoked: both of its bindings are gone"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("dual-stack")


@pytest.mark.parametrize("address", ["10.255.0.11", "2001:db8:ff::11"])
def test_each_address_is_authorized(report: Report, address: str) -> None:
    """nhrpd asks for each, and both have the NBMA address of the spoke."""
    assert report.evidence(BOUND, "Decision", on="hub", protocol_address=address)["nbma_address"] == "203.0.113.11"
    report.evidence(BOUND, "Binding", on="hub", protocol_address=address)


def test_a_spoke_is_one_neighbor(report: Report) -> None:
    """At its IPv4 address; by that session come the prefixes of both IP versions."""
    report.evidence(BOUND, "BgpSession", on="hub", to="spoke1")
    report.evidence(BOUND, "Command", on="hub")
    for prefix in ("192.168.2.0/24", "2001:db8:2::/64"):
        assert report.evidence(BOUND, "Prefix", on="spoke1", prefix=prefix)["received_from"] == ["10.255.0.1"]


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_paths_go_direct(report: Report, ipv6: bool) -> None:
    """The redirect rule of either IP version makes a shortcut, and none is lost after."""
    seen = report.evidence(DIRECT[ipv6], "Shortcut")
    assert (seen["ttl_before"], seen["ttl_after"]) == (61, 62)


def test_the_neighbor_moves_to_the_address_that_stays(report: Report) -> None:
    """The peer keeps its IKE_SA and its other binding."""
    report.evidence(MOVED, "Binding", on="hub", protocol_address="2001:db8:ff::11")
    report.evidence(MOVED, "SecurityAssociation", on="hub", to="spoke1")
    report.evidence(MOVED, "Command", on="hub")


def test_a_revocation_takes_both_addresses(report: Report) -> None:
    """Binding, route and neighbor."""
    for address in ("10.255.0.12", "2001:db8:ff::12"):
        report.evidence(REVOKED, "Binding", on="hub", protocol_address=address, present="False")
    report.evidence(REVOKED, "Route", on="hub", prefix="2001:db8:ff::12/128", present="False")
