"""A router whose tunnel has the source filter, and packets for it.

This kernel may have no GRE: a rule gives packets that arrive through the tunnel the mark of their outer packet, by
the MAC address. That the mark survives GRE is shown by the lab's scenario ``spoofing``.
"""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

from contract.kernel.packets import frame_ipv4, frame_ipv6
from contract.namespaces import command
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

GRE = 47
#: Marked by the test as the outer packet would be: MAC …:0N has the mark N, and all have 5, another program's.
ROUTER = """
for name in gre1 up0; do
  ip link add $name address 02:00:00:00:00:01 type veth peer name other-$name
  ip link set $name up; ip link set other-$name up
done
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip address add 10.255.0.1/32 dev gre1
ip address add 192.0.2.1/24 dev up0
ip route add 203.0.113.0/24 dev up0
ip route add 10.0.0.0/8 dev gre1
ip -6 route add 2001:db8::/32 dev gre1
ip neigh add 10.2.0.2 lladdr 02:00:00:00:00:09 dev gre1
ip neigh add 2001:db8:9::2 lladdr 02:00:00:00:00:09 dev gre1
nft -f - <<END
table inet test {
  counter forwarded { }
  counter foreign_mark { }
  counter marked_first { }
  counter marked_nobody { }
  chain marking {
    type filter hook prerouting priority -600;
    iifname gre1 ether saddr 02:00:00:00:00:02 meta mark set 0x10005
    iifname gre1 ether saddr 02:00:00:00:00:03 meta mark set 0x20005
  }
  chain marked {
    type filter hook input priority 600;
    iifname up0 meta l4proto gre meta mark & 0xffff0000 == 0x10000 counter name marked_first
    iifname up0 meta l4proto gre meta mark & 0xffff0000 == 0 counter name marked_nobody
  }
  chain earlier {
    type filter hook prerouting priority -310;
    iifname up0 meta mark set 0x30000
  }
  chain forward {
    type filter hook forward priority 10;
    iifname gre1 oifname gre1 counter name forwarded
    iifname gre1 oifname gre1 meta mark 5 counter name foreign_mark
  }
}
END
"""


def peer(number: int, *, quarantined: bool = False) -> Peer:
    return Peer(
        ip_address(f"10.255.0.1{number}"), ip_address(f"203.0.113.{number}"), "gre1", 65000 + number,
        (ip_network(f"10.{number}.0.0/24"), ip_network(f"2001:db8:{number}::/48")), "", "", None,
        identity=str(number), quarantined=quarantined,
    )  # fmt: skip


HUB = Peer(
    ip_address("10.255.0.11"), ip_address("203.0.113.1"), "gre1", None, (), "", "", None,
    transit=((ip_network("10.0.0.0/8"), 32),), withheld=(ip_network("10.7.0.0/16"),),
)  # fmt: skip


class Filter:
    """A running filter, whose peers a test may change."""

    def __init__(self, mode: FilterMode, peers: tuple[Peer, ...], telemetry: Telemetry) -> None:
        self.peers = peers
        self.telemetry = telemetry
        self.settings = TableSettings(("gre1",), source_filter=SourceFilter(mode, 0xFFFF0000))
        self.table = TableReconciler(self.settings, lambda: self.peers, Nftables(), telemetry)

    async def wait_for(self, words: str, *, gone: bool = False) -> None:
        """Wait until nft shows these words; asks in a thread of the same namespace."""
        await until(lambda: (words in command("nft", "list", "table", "inet", "dmvpn_agent")) != gone)

    async def counted(self, what: str, peer: Peer) -> int:
        """Have the counters read, and return a peer's."""
        shown = self.table.shown
        self.table.trigger()
        await until(lambda: self.table.shown is not shown and self.table.shown is not None)
        count = self.table.peer_totals.of(what).get(peer.protocol_address)
        return count.packets if count else 0


@asynccontextmanager
async def filtered(mode: FilterMode, *peers: Peer, telemetry: Telemetry | None = None) -> AsyncIterator[Filter]:
    command("sh", "-c", ROUTER)
    one = Filter(mode, peers, telemetry or Telemetry())
    async with running(NftablesNotifications(one.table.table_changed).run()), running(one.table.run()):
        await until(lambda: one.table.installed)
        yield one


def send(*frames: bytes, interface: str = "gre1") -> None:
    """Send frames in, and one more that says when they have arrived."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((f"other-{interface}", 0))
        for frame in frames:
            wire.send(frame)


def packets(counter: str) -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", "test", counter))
    return int(shown["nftables"][-1]["counter"]["packets"])


def packet_from(number: int, source: str) -> bytes:
    """A packet from the peer with this number, through the hub."""
    mac = bytes((2, 0, 0, 0, 0, number + 1))
    if ":" in source:
        return frame_ipv6(source, "2001:db8:9::2", mac)
    return frame_ipv4(source, "10.2.0.2", mac)
