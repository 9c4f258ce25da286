"""The uplinks of hub and spoke are in a VRF, on the real daemons; the GRE guard enforces."""

import os
from collections.abc import Callable

import pytest

from e2e.conftest import TIMEOUT, Report

pytestmark = [
    pytest.mark.timeout(TIMEOUT + 60),
    pytest.mark.skipif("VRF" not in os.environ, reason="runs with VRF=1"),
]

SPOKE = "the spoke's uplink moves into a VRF, and traffic flows again"
BOTH = "the hub's uplink too; new IKE_SAs are made by way of the VRFs"
SOUND = "doctor, status and probe see a sound node"
KILLED = "the spoke's charon is killed and comes back"


@pytest.fixture(scope="module")
def report(report_of: Callable[[str], Report]) -> Report:
    return report_of("vrf")


@pytest.mark.parametrize("step", [SPOKE, BOTH, KILLED])
def test_traffic_flows_by_way_of_the_vrf(report: Report, step: str) -> None:
    """The tunnel interface has the VRF as its device, and stays in the default VRF itself."""
    report.evidence(step, "BgpSession", on="hub", to="spoke1")
    assert report.evidence(step, "TrafficIntact", destination="hub")["goes_on"]


@pytest.mark.parametrize("node", ["hub", "spoke1"])
def test_doctor_and_status_see_a_sound_node(report: Report, node: str) -> None:
    """Doctor follows the tunnel to the uplink in the VRF, and probes the path by way of it."""
    for file in ("doctor.txt", "status.txt"):
        report.evidence(SOUND, "Command", on=node, file=file)
