"""charon, interfaces, addresses and uplinks go and come back under traffic: seconds until packets flow again."""

import os
from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = [
    pytest.mark.timeout(TIMEOUT + 60),
    # The first step needs up to 31 s on a busy machine, which is over the limit below.
    pytest.mark.skipif("UPLINK" not in os.environ, reason="runs with UPLINK=1, on a machine with nothing else to do"),
]

CHARON = "the hub's charon is killed and comes back: the hub calls its spokes"
#: Each step with the spokes that it interrupts. Without the agent 30 to 123 s pass, or nothing comes back at all.
INTERRUPTED = [
    ("the nftables rules of the hub and of a spoke are flushed", "spoke1"),
    (CHARON, "spoke1"),
    (CHARON, "spoke2"),
    ("the hub's tunnel interface is deleted and made again", "spoke1"),
    ("the hub's tunnel interface is deleted and made again", "spoke2"),
    ("the hub's protocol address is removed and comes back", "spoke1"),
    ("the hub's protocol address is removed and comes back", "spoke2"),
    ("a spoke's tunnel interface is deleted and made again", "spoke1"),
    ("a spoke's protocol address is removed and comes back", "spoke1"),
    ("a spoke's uplink has another address, as after DHCP: its agent moves the tunnel", "spoke1"),
    ("a spoke's charon is killed and comes back", "spoke1"),
    ("a spoke's first uplink fails without a word: its agent moves the tunnel to the second", "spoke2"),
    ("the first uplink works again: the tunnel returns to it", "spoke2"),
]
#: Seconds; an idle machine needs 3 to 12, one at load 9 twice as long.
LONGEST_GAP = 30


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("uplink")


@pytest.mark.parametrize(("step", "spoke"), INTERRUPTED)
def test_traffic_is_back(report: Report, step: str, spoke: str) -> None:
    """Within so many seconds, with the time in which the thing was away."""
    seen = report.evidence(step, "TrafficIntact", source=spoke)
    assert seen["goes_on"]
    assert seen["longest_gap_seconds"] <= LONGEST_GAP


def test_the_hub_calls_its_spokes(report: Report) -> None:
    """They would notice after 40 s; a spoke ends both IKE_SAs, so that its nhrpd registers."""
    report.evidence(CHARON, "Metric", on="hub")
    report.evidence(CHARON, "Log", on="spoke1")
