"""The real firewalld reads what setup writes for it."""

import shutil
import subprocess
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path, PurePath

import pytest

from dmvpn_agent.setup.choose import choose
from dmvpn_agent.setup.files import node_files
from dmvpn_agent.setup.system import Firewall, FirewallBy
from nodes import ANSWERS, MACHINE, spoke_bundle

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(shutil.which("firewall-offline-cmd") is None, reason="no firewalld here"),
]
_FOLDER = PurePath("/etc/firewalld")


def check(folder: Path) -> int:
    """Have firewalld read its configuration from a folder; return its exit status."""
    command = ("firewall-offline-cmd", "--system-config", str(folder), "--check-config")
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.parametrize("zones", [{}, {"eth0": "external"}, {"eth0": "external", "gre1": "trusted"}])
def test_firewalld_accepts_the_files(tmp_path: Path, zones: dict[str, str]) -> None:
    """With the uplink in a zone and in none, gre1 in the operator's, networks of both versions; an error shows."""
    machine = replace(MACHINE, firewall=Firewall(FirewallBy.FIREWALLD, zones, zones.get("gre1", "")))
    networks = tuple(map(ip_network, ("192.168.17.0/24", "fd00:17::/48")))
    node = choose(spoke_bundle(), machine, replace(ANSWERS, networks=networks)).node
    assert node is not None
    written = []
    for step in node_files(node, spoke_bundle(), machine):
        if PurePath(step.path).is_relative_to(_FOLDER) and step.content is not None:
            file = tmp_path / PurePath(step.path).relative_to(_FOLDER)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(step.content)
            written.append(file)
    assert len(written) == 3 + ("gre1" not in zones)
    assert check(tmp_path) == 0
    written[-1].write_text("<policy><rule>")
    assert check(tmp_path) != 0
