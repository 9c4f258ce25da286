"""The GRE guard beside real charons, in bridged mode and, with ``CHARON`` naming a patched one, in native mode."""

import os
from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = [
    pytest.mark.timeout(TIMEOUT + 60),
    pytest.mark.skipif("GUARD" not in os.environ, reason="runs with GUARD=1"),
]

UNKNOWN, WITH_SA = "203.0.113.77", "203.0.113.12"
COUNTED = "without a trap policy GRE without IPsec is delivered and sent, and the guard counts"
ENFORCED = "the guard drops both"
DIRECT = "all guards enforce, and a ping goes direct, by both IP versions"
KILLED = "the hub's charon is killed and comes back: traffic too, and nothing was sent without IPsec"


@pytest.fixture(scope="module", params=["guard", "guard-native"])
def report(request: pytest.FixtureRequest, report_of: Callable[[str], Report]) -> Report:
    if request.param == "guard-native" and "CHARON" not in os.environ:
        pytest.skip("needs CHARON=, a charon with Alpine's patches")
    return report_of(request.param)


@pytest.mark.parametrize(("address", "arrived"), [(UNKNOWN, 10), (WITH_SA, 0)])
def test_only_the_guard_drops_what_comes_without_ipsec_from_an_unknown_address(
    report: Report, address: str, arrived: int
) -> None:
    """Five packets of each IP version; those with the address of a peer that has an SA fail the kernel's check."""
    for step, expected in ((COUNTED, arrived), (ENFORCED, 0)):
        seen = report.evidence(step, "Delivered", address=address)
        assert (seen["sent"], seen["arrived"]) == (10, expected)


def test_only_the_guard_drops_what_goes_without_ipsec_to_a_peer_without_an_sa(report: Report) -> None:
    """Ten packets before it, and no more with it: the counter is the receiver's."""
    for step in (COUNTED, ENFORCED):
        report.evidence(step, "Command", on="spoke1")
        report.evidence(step, "Metric", name='dmvpn_agent_clear_gre_packets_total{direction="sent"}')


@pytest.mark.parametrize("source", ["spoke1", "spoke2"])
def test_the_traffic_of_others_loses_nothing(report: Report, source: str) -> None:
    """From before the guard enforces until a shortcut is there."""
    assert report.evidence(DIRECT, "TrafficIntact", source=source)["lost"] == []


def test_shortcuts_work_with_the_guard_in_force(report: Report) -> None:
    """On all three nodes, by both IP versions."""
    for ipv6 in ("False", "True"):
        report.evidence(DIRECT, "Shortcut", ipv6=ipv6)


def test_nothing_goes_without_ipsec_while_charon_is_away(report: Report) -> None:
    """Traffic returns, and the hub sent no packet in the clear to a spoke."""
    report.evidence(KILLED, "TrafficIntact", source="spoke2")
    report.evidence(KILLED, "Command", on="spoke1")
