"""Nodes whose every file comes from ``dmvpn-agent setup``, on the real daemons."""

import os
from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = [
    pytest.mark.timeout(TIMEOUT + 60),
    # The last step, undo, has not been reached in a VM yet.
    pytest.mark.skipif("SETUP" not in os.environ, reason="runs with SETUP=1"),
]

ACCEPTED = "all nodes are accepted and have a BGP session"
SOUND = "the doctor finds no fault, and FRR lacks nothing"
PING = "a ping from LAN to LAN starts through the hub and goes direct"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("setup")


@pytest.mark.parametrize("spoke", ["fin1", "fin2", "swe1"])
def test_every_node_has_a_session(report: Report, spoke: str) -> None:
    """Both routers of one site too; the spokes knew no protocol address of the hub."""
    assert report.evidence(ACCEPTED, "BgpSession", on="hub", to=spoke)[0]["state"] == "Established"


@pytest.mark.parametrize("node", ["hub", "fin1"])
def test_the_doctor_finds_nothing(report: Report, node: str) -> None:
    report.evidence(SOUND, "Command", on=node)


def test_a_shortcut_is_made(report: Report) -> None:
    """And the last step, the undoing of setup, left every file as it was: otherwise there is no report."""
    report.evidence(PING, "Shortcut")
