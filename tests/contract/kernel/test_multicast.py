"""The multicast rule in a real kernel: what nhrpd gets to copy, and what leaves by the tunnel nevertheless."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from contract.kernel.firewalls import VARIANTS, choose
from contract.kernel.nflog import Logged, NflogGroup
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.iptables.program import Iptables
from dmvpn_agent.kernel.iptables.reconciler import ChainReconciler
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.nftables.multicast_rule import COUNTER, MulticastRule
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

GROUP, OSPF, ALL_OSPF, RIP = 9, 89, "224.0.0.5", "224.0.0.9"
RULE = MulticastRule(("gre1", "gre2"), GROUP)
NODE = """
for name in gre1 gre2 eth0; do
  ip link add $name type veth peer name other-$name
  ip link set $name up && ip link set other-$name up
done
ip address add 10.255.0.1/24 dev gre1
ip address add 10.254.0.1/24 dev gre2
ip address add 192.0.2.1/24 dev eth0
ip neigh add 10.255.0.9 lladdr 02:00:00:00:00:02 dev gre1
"""

pytestmark = [pytest.mark.contract, needs("nft")]


@asynccontextmanager
async def _kept(firewall: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NflogGroup]:
    """A node with the rule kept, and the reader of its NFLOG group."""
    command("sh", "-c", NODE)
    keeper: TableReconciler | ChainReconciler
    if firewall == "nft":
        keeper = TableReconciler(TableSettings((), multicast=RULE), tuple, Nftables(), Telemetry())
    else:
        choose(firewall, directory, monkeypatch)
        keeper = ChainReconciler(ChainSettings(multicast=RULE), Iptables(), Telemetry())
    async with running(keeper.run()):
        await until(lambda: keeper.installed)
        with NflogGroup(GROUP) as group:
            yield group
        keeper.trigger()
        counted = keeper.total if isinstance(keeper, ChainReconciler) else keeper.totals.total
        await until(lambda: counted(COUNTER).packets > 0)


def _ospf(source: str, destination: str, content: bytes) -> None:
    """Send a packet of protocol OSPF, as ospfd does, which takes a refusal for nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, OSPF) as sender, suppress(PermissionError):
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sender.bind((source, 0))
        sender.sendto(content, (destination, 0))


def _rip(source: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, suppress(PermissionError):
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sender.bind((source, 520))
        sender.sendto(b"rip", (RIP, 520))


async def _logged(group: NflogGroup, at_least: int) -> list[Logged]:
    """Return what is logged of OSPF and RIP; the kernel sends IGMP of its own."""
    logged: list[Logged] = []
    while len(logged) < at_least:
        await asyncio.sleep(0.01)
        logged += [one for one in group.read() if one.packet[9] in {OSPF, socket.IPPROTO_UDP}]
    return logged


def _wire(interface: str) -> socket.socket:
    """Return a socket that has what leaves by an interface."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    wire.bind((f"other-{interface}", 0x0800))
    wire.setblocking(False)
    return wire


def _contents(wire: socket.socket) -> list[bytes]:
    """Return the last four bytes of each OSPF or UDP packet."""
    found = []
    with suppress(BlockingIOError):
        while True:
            frame = wire.recv(2048)
            if frame[23] in {OSPF, socket.IPPROTO_UDP}:
                found.append(frame[14 + struct.unpack_from("!H", frame, 16)[0] - 4 :][:4])
    return found


@pytest.mark.parametrize("firewall", [pytest.param(name, marks=needs(name)) for name in ("nft", *VARIANTS)])
@in_network_namespace
async def test_multicast_of_routing_protocols_goes_to_nhrpd_only(
    firewall: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, and with the interface that it would have left by. Nothing else is touched."""
    async with _kept(firewall, tmp_path, monkeypatch) as group:
        tunnel, other = _wire("gre1"), _wire("eth0")
        _ospf("10.255.0.1", ALL_OSPF, b"hell" * 300)
        _ospf("10.254.0.1", ALL_OSPF, b"two.")
        _ospf("10.255.0.1", "10.255.0.9", b"uni.")
        _ospf("192.0.2.1", ALL_OSPF, b"eth.")
        _ospf("10.255.0.1", "239.1.1.1", b"app.")
        first, second = await _logged(group, 2)
        assert first.packet.endswith(b"hell" * 300)
        assert (first.out, second.out) == (socket.if_nametoindex("gre1"), socket.if_nametoindex("gre2"))
        seen: list[bytes] = []
        while len(seen) < 2:
            seen += _contents(tunnel)
            await asyncio.sleep(0.01)
        assert seen == [b"uni.", b"app."]
        assert _contents(other) == [b"eth."]
        assert group.read() == []


@in_network_namespace
async def test_a_copy_of_a_udp_packet_can_be_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nftables removes the checksum that the interface has not computed. iptables cannot."""
    async with _kept("nft", tmp_path, monkeypatch) as group:
        _rip("10.255.0.1")
        (copy,) = await _logged(group, 1)
        assert copy.packet.endswith(b"rip")
        assert struct.unpack_from("!H", copy.packet, 26) == (0,)
