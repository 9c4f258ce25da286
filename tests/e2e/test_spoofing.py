"""The source filter on the real daemons: forged sources before it, counted by it, and dropped by it."""

from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = pytest.mark.timeout(TIMEOUT + 60)

HUB, SHORTCUT = "through the hub", "over the shortcut"
BY_HUB = [
    ("spoke1", "hub", "192.168.2.77"),
    ("spoke1", "hub", "2001:db8:2::77"),
    ("spoke1", "spoke2", "192.168.9.77"),
    ("spoke1", "spoke2", "2001:db8:9::77"),
    ("hub", "spoke1", "192.168.1.77"),
    ("hub", "spoke1", "2001:db8:1::77"),
]
FLUSHED = "a flushed filter is back at once, and the traffic of others goes on"
PATHS = [(HUB, *pair) for pair in BY_HUB] + [(SHORTCUT, *pair) for pair in BY_HUB[2:4]]


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("spoofing")


@pytest.mark.parametrize(
    ("mode", "fate", "arrived"), [("off", "delivered", 5), ("count", "delivered", 5), ("enforce", "dropped", 0)]
)
@pytest.mark.parametrize(("path", "source", "destination", "address"), PATHS)
def test_forged_packets_arrive_unless_the_filter_drops_them(
    report: Report, mode: str, fate: str, arrived: int, path: str, source: str, destination: str, address: str
) -> None:
    """From a spoke and from a hub, to a hub and to a spoke, in both IP versions, on both paths."""
    step = f"{mode}: forged packets {path} are {fate}"
    seen = report.evidence(step, "Delivered", source=source, destination=destination, address=address)
    assert (seen["sent"], seen["arrived"]) == (5, arrived)


def test_shortcuts_work_with_the_filter_in_force(report: Report) -> None:
    """Both ends accept each other's own addresses."""
    step = "a ping goes direct, with the filter in force, by both IP versions"
    for ipv6 in ("False", "True"):
        report.evidence(step, "Shortcut", ipv6=ipv6)


@pytest.mark.parametrize("source", ["spoke1", "spoke2"])
def test_the_traffic_of_others_goes_on(report: Report, source: str) -> None:
    """While the mode changed five times, and the rules were flushed once. Two losses may be those of the VM."""
    assert len(report.evidence(FLUSHED, "TrafficIntact", source=source)["lost"]) <= 2
