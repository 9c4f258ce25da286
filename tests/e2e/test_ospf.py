"""OSPF over the tunnel, on the real ospfd and nhrpd."""

import os
from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = [
    pytest.mark.timeout(TIMEOUT + 60),
    pytest.mark.skipif(
        "OSPF" not in os.environ, reason="runs with OSPF=1: the contract tests of the rule run always"
    ),
]

ROUTES = "OSPF finds its neighbors and routes; the hub takes from a spoke only what is the spoke's"
SHORTCUT = "packets from spoke to spoke take a shortcut, which is preferred to the route by the hub"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("ospf")


def test_neighbors_are_found_by_copies_of_multicast_packets(report: Report) -> None:
    """nhrpd makes them of what the agent's rule gives it, on hub and spoke."""
    assert report.evidence(ROUTES, "Metric", on="hub")
    assert report.evidence(ROUTES, "Metric", on="spoke1")


@pytest.mark.parametrize(("node", "prefix"), [("hub", "192.168.1.200/32"), ("spoke2", "192.168.1.200/32")])
def test_routes_of_spokes_are_there(report: Report, node: str, prefix: str) -> None:
    """At the hub, and at the other spoke by way of the hub."""
    assert report.evidence(ROUTES, "Route", on=node, prefix=prefix)


def test_the_hub_does_not_install_what_a_spoke_may_not_originate(report: Report) -> None:
    """By the route map of docs/multicast.md; the prefix is in the database."""
    assert report.evidence(ROUTES, "Route", on="hub", prefix="192.168.9.9/32") == []


def test_shortcuts_work_as_with_bgp(report: Report) -> None:
    """The redirect rule logs the packets, and nhrpd's route takes the place of OSPF's."""
    assert report.evidence(SHORTCUT, "Command", on="spoke2")
    assert report.evidence(SHORTCUT, "Route", on="spoke2")
