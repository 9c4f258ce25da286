"""An uplink whose address comes by DHCP: the real udhcpc and udhcpd, in two network namespaces."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.events import AddressEvent, KernelEvent, LinkEvent
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables
from dmvpn_agent.kernel.routes.reconciler import RouteReconciler
from dmvpn_agent.kernel.uplink.interfaces import Interfaces
from dmvpn_agent.kernel.uplink.keeper import UplinkKeeper
from dmvpn_agent.kernel.uplink.settings import Uplink, UplinkSettings
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until


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

#: As the script of a distribution sets the address: it removes the former one first.
SCRIPT = """#!/bin/sh
case $1 in
  deconfig) ip address flush dev $interface; ip link set $interface up ;;
  bound|renew) ip address flush dev $interface; ip address add $ip/$mask dev $interface ;;
esac
"""
SERVER = """
start {network}.{first}
end {network}.{first}
interface far0
pidfile {directory}/udhcpd.pid
lease_file {directory}/leases.{network}
option subnet 255.255.255.0
option lease 60
"""


class _Node(Interfaces):
    """The real interfaces, and a tunnel in memory: this kernel may have no GRE."""

    local: IPv4Address | None = None

    def local_address(self, tunnel: str) -> IPv4Address | None:
        return self.local

    def set_local_address(self, tunnel: str, address: IPv4Address) -> None:
        self.local = address


@contextmanager
def _process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _server(directory: Path, holder: int, network: str, first: int) -> Iterator[None]:
    """Run a server that gives out one address, in the namespace of the process ``holder``."""
    inside = ("nsenter", f"--net=/proc/{holder}/ns/net")
    command(*inside, "ip", "address", "flush", "dev", "far0")
    command(*inside, "ip", "address", "add", f"{network}.1/24", "dev", "far0")
    file = directory / "udhcpd.conf"
    file.write_text(SERVER.format(directory=directory, network=network, first=first))
    (directory / f"leases.{network}").touch()
    with _process(*inside, "busybox", "udhcpd", "-f", str(file)):
        yield


@in_network_namespace
async def test_the_tunnel_follows_the_address_that_dhcp_gives_anew(tmp_path: Path) -> None:
    """With the uplink's rules, and once; a renewal of the same address changes nothing."""
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    command("ip", "link", "set", "lo", "up")
    watch, moves = KernelWatch(("gre1",), Telemetry()), list[None]()
    node = _Node(watch)
    settings = UplinkSettings(("gre1",), (Uplink("up0", gateway=IPv4Address("192.0.2.1")),))
    keeper = UplinkKeeper(settings, node, Telemetry(), lambda: moves.append(None))
    routes = RouteReconciler(keeper.tables, NetlinkTables(), Telemetry())

    def changed(_: KernelEvent) -> None:
        keeper.trigger()
        routes.trigger()

    watch.subscribe(changed, LinkEvent, AddressEvent)
    with _process("unshare", "--net", "sleep", "3600") as holder:
        await until(
            lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != Path("/proc/thread-self/ns/net").readlink()
        )
        command("ip", "link", "add", "up0", "type", "veth", "peer", "name", "far0", "netns", str(holder.pid))
        command("nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip", "link", "set", "far0", "up")
        client = ("busybox", "udhcpc", "-f", "-i", "up0", "-s", str(script), "-t", "20", "-T", "1", "-A", "1")
        async with running(watch.run()), running(keeper.run()), running(routes.run()):
            with _process(*client) as process:
                with _server(tmp_path, holder.pid, "192.0.2", 50):
                    await until(lambda: node.local == IPv4Address("192.0.2.50"))
                    await until(lambda: "192.0.2.50" in command("ip", "rule"))
                    before = len(moves)
                    process.send_signal(signal.SIGUSR1)  # renew
                with _server(tmp_path, holder.pid, "192.0.2", 60):
                    process.send_signal(signal.SIGUSR2)  # release
                    process.send_signal(signal.SIGUSR1)  # and ask anew
                    await until(lambda: node.local == IPv4Address("192.0.2.60"))
                    await until(lambda: "192.0.2.60" in command("ip", "rule"))
                    assert "192.0.2.50" not in command("ip", "rule")
                    assert len(moves) == before + 1
                    (address,) = watch.addresses_of("up0")
                    assert address == IPv4Interface("192.0.2.60/24")
