"""An uplink whose address comes by DHCP: the real udhcpc and udhcpd, in two network namespaces."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from contract.kernel.far_namespace import far_namespace, process
from contract.kernel.kept_uplinks import KeptUplinks, rules
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.uplink.settings import AUTO, Uplink
from fakes.waiting import until


def _has_dhcp() -> bool:
    try:
        done = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return {"udhcpc", "udhcpd"} <= set(done.stdout.split())


pytestmark = [
    pytest.mark.contract,
    needs("ip", "busybox", "nsenter", "unshare"),
    pytest.mark.skipif(not _has_dhcp(), reason="busybox has no udhcpc and udhcpd"),
]

#: As the script of a distribution sets address and route: it removes the former ones first.
SCRIPT = """#!/bin/sh
case $1 in
  deconfig) ip address flush dev $interface; ip link set $interface up ;;
  bound|renew)
    ip address flush dev $interface; ip address add $ip/$mask dev $interface
    ip route add default via $router dev $interface proto dhcp ;;
esac
"""
SERVER = """
start {network}.{first}
end {network}.{first}
interface far0
pidfile {directory}/udhcpd.pid
lease_file {directory}/leases.{network}
option subnet 255.255.255.0
option router {network}.1
option lease 60
"""


@contextmanager
def _server(directory: Path, inside: tuple[str, ...], network: str, first: int) -> Iterator[None]:
    """Run a server that gives out one address; ``inside``: how a command is run in its namespace."""
    command(*inside, "ip", "address", "flush", "dev", "far0")
    command(*inside, "ip", "address", "add", f"{network}.1/24", "dev", "far0")
    file = directory / "udhcpd.conf"
    file.write_text(SERVER.format(directory=directory, network=network, first=first))
    (directory / f"leases.{network}").touch()
    with process(*inside, "busybox", "udhcpd", "-f", str(file)):
        yield


@in_network_namespace
async def test_the_tunnel_follows_address_and_gateway_that_dhcp_gives_anew(tmp_path: Path) -> None:
    """With the uplink's rules, once, and in another network; a renewal of the same lease changes nothing."""
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    command("ip", "link", "set", "lo", "up")
    kept = KeptUplinks(Uplink("up0", AUTO))

    def has(address: str, gateway: str) -> bool:
        table = command("ip", "route", "show", "table", "7700") if address in rules() else ""
        return kept.local == address and f"default via {gateway} dev up0" in table

    async with far_namespace("up0", "far0") as inside:
        client = ("busybox", "udhcpc", "-f", "-i", "up0", "-s", str(script), "-t", "20", "-T", "1", "-A", "1")
        async with kept.run():
            with process(*client) as udhcpc:
                with _server(tmp_path, inside, "192.0.2", 50):
                    await until(lambda: has("192.0.2.50", "192.0.2.1"))
                    before = kept.moves
                    udhcpc.send_signal(signal.SIGUSR1)  # renew
                with _server(tmp_path, inside, "198.51.100", 60):
                    udhcpc.send_signal(signal.SIGUSR2)  # release
                    udhcpc.send_signal(signal.SIGUSR1)  # and ask anew
                    await until(lambda: has("198.51.100.60", "198.51.100.1"))
                    assert "192.0.2.50" not in rules()
                    assert kept.moves == before + 1
                    (address,) = kept.watch.addresses_of("up0")
                    assert address == IPv4Interface("198.51.100.60/24")
