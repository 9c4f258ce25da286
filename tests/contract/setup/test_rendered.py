"""FRR's own vtysh accepts every configuration that setup renders."""

import shutil
import subprocess
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.frr_text import compare, merged, section_text
from dmvpn_agent.setup.node import Hub
from dmvpn_agent.setup.templates import frr_conf
from nodes import hub_bundle, node, spoke_bundle

pytestmark = pytest.mark.skipif(shutil.which("vtysh") is None, reason="FRR is not installed")

IPV6 = {
    "protocol_addresses": (IPv4Address("10.255.0.17"), IPv6Address("2001:db8:ff::17")),
    "tunnel_networks": (IPv4Network("10.255.0.0/24"), IPv6Network("2001:db8:ff::/64")),
    "lan_networks": (IPv4Network("192.168.17.0/24"), IPv6Network("2001:db8:17::/48")),
}
ONLY_IPV6 = {
    "protocol_addresses": (IPv6Address("2001:db8:ff::17"),),
    "tunnel_networks": (IPv6Network("2001:db8:ff::/64"),),
    "lan_networks": (IPv6Network("2001:db8:17::/48"),),
}
SEVERAL = {
    "tunnel_networks": (IPv4Network("10.255.0.0/24"), IPv4Network("10.254.0.0/24")),
    "lan_networks": (IPv4Network("192.168.17.0/24"), IPv4Network("192.168.18.0/24")),
    "hubs": (Hub("hub.example.com"), Hub("203.0.113.2", IPv4Address("10.255.0.2"))),
}


def accepted(text: str, folder: Path) -> None:
    (folder / "vtysh.conf").touch()
    (folder / "frr.conf").write_text(text)
    argv = ["vtysh", "--config_dir", str(folder), "-C"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("bundle", [spoke_bundle(), hub_bundle()], ids=["spoke", "hub"])
@pytest.mark.parametrize("ibgp", [False, True])
@pytest.mark.parametrize("changes", [{}, IPV6, ONLY_IPV6, SEVERAL, {"lan_networks": ()}], ids=[
    "ipv4", "both", "ipv6", "several", "no-lan",
])  # fmt: skip
def test_vtysh_accepts_the_file_and_the_lines_that_are_added(
    bundle: Bundle, ibgp: bool, changes: dict[str, Any], tmp_path: Path
) -> None:
    """As a new file, at the end of an operator's, and as lines for a running FRR."""
    wanted = frr_conf(node(bundle, ibgp=ibgp, **changes))
    accepted(wanted, tmp_path)
    accepted(merged(wanted, "hostname border\nlog syslog\ninterface gre1\n ip nhrp network-id 1\nexit\n"), tmp_path)
    accepted(section_text(compare(wanted, "").missing), tmp_path)
