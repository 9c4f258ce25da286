"""A hub with two tunnel interfaces, and two spokes behind one NAT address, one on each: on the real daemons."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

SERVED = "both behind the one address are served, each on its tunnel"
PATHS = "within a DMVPN packets go direct, between the two through the hub"
ENDED = "the SAs of one tunnel end and come again, and the other's traffic loses nothing"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("two-tunnels")


@pytest.mark.parametrize(("spoke", "address"), [("spoke1", "10.255.0.11"), ("spoke2", "10.254.0.12")])
def test_both_behind_one_address_are_served(report: Report, spoke: str, address: str) -> None:
    """Each is accepted, bound by the NAT's address, and has its BGP session."""
    assert report.evidence(SERVED, "Decision", on="hub", protocol_address=address)["nbma_address"] == "203.0.113.50"
    report.evidence(SERVED, "Binding", on="hub", protocol_address=address)
    report.evidence(SERVED, "BgpSession", on="hub", to=spoke)


@pytest.mark.parametrize(("prefix", "interface"), [("192.168.1.0/24", "gre1"), ("192.168.2.0/24", "gre2")])
def test_each_lan_is_behind_its_tunnel(report: Report, prefix: str, interface: str) -> None:
    """The hub reaches it there."""
    (route,) = report.evidence(SERVED, "Route", on="hub", prefix=prefix)
    assert f"dev {interface}" in route


def test_both_tunnels_have_their_redirect_rule(report: Report) -> None:
    """For what leaves by the tunnel it came in by: between the two there can be no shortcut."""
    for interface in ("gre1", "gre2"):
        rules = report.evidence(SERVED, "RedirectRule", on="hub", interface=interface)
        assert len(rules) == 2, rules  # that of each pair, and what all pairs share
        assert all(f'iifname "{interface}" oifname "{interface}"' in rule for rule in rules)


def test_doctor_finds_such_a_hub_sound(report: Report) -> None:
    """Two profiles, two trap policies, two reqids, two keys."""
    printed = "\n".join(report.evidence(SERVED, "Command", on="hub")["printed"])
    assert "reqid 1, transport" in printed
    assert "reqid 2, transport" in printed


def test_shortcut_within_one_dmvpn(report: Report) -> None:
    """As with one tunnel."""
    assert len(report.evidence(PATHS, "Shortcut")["lost_after_direct"]) <= 1


def test_between_the_dmvpns_packets_go_through_the_hub(report: Report) -> None:
    """None is lost."""
    assert report.evidence(PATHS, "TrafficIntact", destination="spoke2")["lost"] == []


def test_one_tunnels_sas_are_not_the_others(report: Report) -> None:
    """While the second tunnel's SAs end and come again, the other spoke behind the same address loses nothing."""
    assert report.evidence(ENDED, "TrafficIntact", source="spoke1", destination="hub")["lost"] == []
    report.evidence(ENDED, "Binding", on="hub", protocol_address="10.254.0.12")
    report.evidence(ENDED, "Unchanged", on="hub")
