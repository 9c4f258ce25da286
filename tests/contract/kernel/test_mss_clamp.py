"""The MSS clamp in a real kernel, by the real nft: a router between a tunnel of MTU 1400 and a LAN."""

import socket
import struct
from ipaddress import ip_address

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables.gauges import observe_table
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

ROUTER = """
for name in gre1 lan0; do
  ip link add $name type veth peer name other-$name
  ip link set $name up; ip link set other-$name up
done
ip link set gre1 address 02:00:00:00:00:01; ip link set lan0 address 02:00:00:00:00:02
ip link set gre1 mtu 1400
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
for name in gre1 lan0; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done
ip route add 10.1.0.0/16 dev lan0; ip route add 10.2.0.0/16 dev gre1
ip -6 route add 2001:db8:1::/48 dev lan0; ip -6 route add 2001:db8:2::/48 dev gre1
ip neigh add 10.1.0.1 lladdr 02:00:00:00:00:09 dev lan0; ip neigh add 10.2.0.1 lladdr 02:00:00:00:00:09 dev gre1
ip neigh add 2001:db8:1::1 lladdr 02:00:00:00:00:09 dev lan0
ip neigh add 2001:db8:2::1 lladdr 02:00:00:00:00:09 dev gre1
"""
SYN, ACK, RST = 2, 16, 4
LAN, TUNNEL = "lan0", "gre1"
_MACS = {TUNNEL: bytes.fromhex("020000000001"), LAN: bytes.fromhex("020000000002")}


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _tcp(source: str, destination: str, mss: int, flags: int) -> bytes:
    """Return an IP packet with a TCP header that has the MSS option."""
    ends = ip_address(source).packed + ip_address(destination).packed
    header = struct.pack("!HHIIBBHHHBBH", 1025, 80, 1, 0, 6 << 4, flags, 1024, 0, 0, 2, 4, mss)
    checksum = 0xFFFF - _sum(ends + struct.pack("!HH", 6, len(header)) + header)
    tcp = header[:16] + struct.pack("!H", checksum) + header[18:]
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + ends + tcp
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + ends
    return ip[:10] + struct.pack("!H", 0xFFFF - _sum(ip)) + ip[12:] + tcp


def _through(packet: bytes, came: str, leaves: str) -> bytes:
    """Have the router forward a packet; return it as it leaves."""
    ether_type = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    kind = socket.SOCK_RAW
    with socket.socket(socket.AF_PACKET, kind) as wire, socket.socket(socket.AF_PACKET, kind) as far:
        wire.bind((f"other-{came}", 0))
        far.bind((f"other-{leaves}", ether_type))
        far.settimeout(10)
        wire.send(_MACS[came] + bytes.fromhex("0200000000ff") + struct.pack("!H", ether_type) + packet)
        while True:
            frame = far.recv(2048)[14:]
            if frame[40 if frame[0] >> 4 == 6 else 20 :][:4] == struct.pack("!HH", 1025, 80):
                return frame


def _mss(packet: bytes) -> int:
    """Return the MSS option of a packet whose TCP checksum is right."""
    at = 40 if packet[0] >> 4 == 6 else 20
    tcp, ends = packet[at:], packet[8:40] if at == 40 else packet[12:20]
    assert _sum(ends + struct.pack("!HH", 6, len(tcp)) + tcp) == 0xFFFF
    return int(struct.unpack_from("!H", tcp, 22)[0])


#: Source and destination; came in and left by; what the tunnel's MTU of 1400 leaves.
WAYS = [
    ("10.1.0.1", "10.2.0.1", LAN, TUNNEL, 1360),
    ("10.2.0.1", "10.1.0.1", TUNNEL, LAN, 1360),
    ("2001:db8:1::1", "2001:db8:2::1", LAN, TUNNEL, 1340),
    ("2001:db8:2::1", "2001:db8:1::1", TUNNEL, LAN, 1340),
]


@pytest.mark.parametrize(("source", "destination", "came", "leaves", "fits"), WAYS)
@in_network_namespace
async def test_the_mss_of_a_new_connection_fits_into_the_tunnel(
    source: str, destination: str, came: str, leaves: str, fits: int
) -> None:
    """Of SYN and SYN ACK, in both directions; a smaller one and other packets stay as they are."""
    command("sh", "-c", ROUTER)
    telemetry = Telemetry()
    table = TableReconciler(TableSettings(("gre1",), clamps_mss=True), lambda: (), Nftables(), telemetry)
    observe_table(telemetry, table)
    before = _tcp(source, destination, 1460, SYN)
    assert _mss(_through(before, came, leaves)) == 1460
    async with running(table.run()):
        await until(lambda: table.installed)
        sent = [
            (1460, SYN, fits),
            (8960, SYN | ACK, fits),
            (536, SYN, 536),
            (1460, ACK, 1460),
            (1460, SYN | RST, 1460),
        ]
        for mss, flags, wanted in sent:
            assert _mss(_through(_tcp(source, destination, mss, flags), came, leaves)) == wanted
        table.trigger()
        await until(lambda: telemetry.value(metrics.MSS_CLAMPED) == 3)
