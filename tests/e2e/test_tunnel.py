"""The agents make the tunnel interfaces and repair them under traffic, on the real daemons."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

MADE = "the agents make the interfaces, and the DMVPN comes up over them"
CHANGED = "the spoke's MTU, state and address are changed by another program"
SPOKE, HUB = "the spoke's interface is deleted", "the hub's interface is deleted"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("tunnel")


def test_the_dmvpn_comes_up_over_interfaces_that_the_agents_made(report: Report) -> None:
    """Nothing else makes them; `plan` has nothing to change afterwards."""
    report.evidence(MADE, "BgpSession", on="hub", to="spoke1")
    report.evidence(MADE, "Metric", on="spoke1")


@pytest.mark.parametrize(("step", "seconds"), [(CHANGED, 10), (SPOKE, 10), (HUB, 15)])
def test_traffic_flows_again(report: Report, step: str, seconds: float) -> None:
    """Within ten seconds; the emulated machine takes some more for the hub's bindings and BGP."""
    seen = report.evidence(step, "TrafficIntact", destination="hub")
    assert seen["goes_on"]
    assert seen["longest_gap_seconds"] <= seconds
