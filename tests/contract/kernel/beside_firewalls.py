"""A router beside other firewalls: an agent's table, what the doctor says, and what the kernel forwards."""

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import Any

from configuration import config_from
from contract.kernel.packets import frame_ipv4
from contract.namespaces import command
from dmvpn_agent.doctor.inspect_firewalls import read_firewalls
from dmvpn_agent.doctor.node_text import parse_links
from dmvpn_agent.kernel.firewalls.flows import FirewallView
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

ROUTER = """
ip link set lo up
for name in gre1 lan0 up0; do
  ip link add $name address 02:00:00:00:00:01 type veth peer name other-$name
  ip link set $name up; ip link set other-$name up
done
echo 1 > /proc/sys/net/ipv4/ip_forward
for name in all gre1 lan0 up0; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done
ip address add 10.255.0.1/32 dev gre1; ip address add 10.9.0.1/24 dev lan0; ip address add 192.0.2.1/24 dev up0
ip route add 10.1.0.0/16 dev gre1; ip route add 10.2.0.0/16 dev gre1
for neighbour in "10.1.0.7 gre1" "10.2.0.7 gre1" "10.9.0.7 lan0"; do
  set -- $neighbour
  ip neigh add $1 lladdr 02:00:00:00:00:09 dev $2
done
"""
CONFIG: dict[str, Any] = {
    "role": "hub",
    "bgp": {"as_number": 65000},
    "policy": {"tunnel_networks": ["10.255.0.0/24"], "allowed_networks": ["10.0.0.0/8"]},
    "uplink": {"link": [{"name": "up0"}]},
}
#: A packet and the interface that it must leave by. None is the answer to another one, which conntrack would know.
WAYS = (("gre1", "10.1.0.7", "10.9.0.7", "lan0"), ("lan0", "10.9.0.8", "10.1.0.7", "gre1"),
        ("gre1", "10.1.0.7", "10.2.0.7", "gre1"))  # fmt: skip
SETTINGS = TableSettings(
    ("gre1",), RedirectRule(("gre1",), 1, 24, 24, 4, 1), SourceFilter(FilterMode.COUNT, 0xFFFF0000), clamps_mss=True
)
PEER = Peer(
    ip_address("10.255.0.11"), ip_address("203.0.113.1"), "gre1", None, (ip_network("10.1.0.0/24"),), "", "", None,
    identity="1",
)  # fmt: skip


class Kept:
    """A table that an agent keeps; ``writes``: its transactions."""

    def __init__(self) -> None:
        self.writes = 0
        self.table = TableReconciler(SETTINGS, lambda: (PEER,), _Counted(self), Telemetry())

    async def at_rest(self) -> None:
        """Wait until the agent knows that the table is as it was read, and no notification is left."""
        await until(lambda: self.table._is_current and self.table.installed)


class _Counted(Nftables):
    def __init__(self, kept: Kept) -> None:
        super().__init__()
        self._kept = kept

    async def install(self, sections: Any) -> None:
        self._kept.writes += 1
        await super().install(sections)

    async def change(self, script: str) -> None:
        self._kept.writes += 1
        await super().change(script)


@asynccontextmanager
async def kept() -> AsyncIterator[Kept]:
    """Run an agent's part that keeps its table."""
    agent = Kept()
    async with running(NftablesNotifications(agent.table.table_changed).run()), running(agent.table.run()):
        await agent.at_rest()
        yield agent


def ours() -> str:
    """Return the agent's table with the handles of its rules: one that is written again has others."""
    shown = command("nft", "-t", "-a", "list", "table", "inet", "dmvpn_agent")
    return re.sub(r"packets \d+ bytes \d+", "", shown)


def passes(came: str, source: str, destination: str, leaves: str) -> bool:
    """Tell whether the router forwards a packet: three are sent, and the first one that arrives counts."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as far,
    ):
        far.bind((f"other-{leaves}", 0x0800))
        wire.bind((f"other-{came}", 0))
        far.settimeout(0.15)
        frame = frame_ipv4(source, destination, bytes.fromhex("020000000009"))
        for _ in range(3):
            wire.send(frame)
            try:
                while far.recv(2048)[26:34] != ip_address(source).packed + ip_address(destination).packed:
                    pass
            except TimeoutError:
                continue
            return True
    return False


async def read_view() -> FirewallView:
    """Return what the doctor reads on the router."""
    links = parse_links(command("ip", "-json", "-details", "address"))
    return await read_firewalls(config_from(CONFIG), links)


def dropped(view: FirewallView) -> set[tuple[str, str]]:
    """Return the interfaces by which the packets through this node come and leave that are dropped."""
    packets = (one.flow.packet for one in view.dropped)
    return {(packet.received_by, packet.sent_by) for packet in packets if packet.received_by and packet.sent_by}


def is_dropped_as_said(view: FirewallView) -> None:
    """Check that the kernel forwards what the doctor does not complain of, and nothing else."""
    for came, source, destination, leaves in WAYS:
        assert passes(came, source, destination, leaves) == ((came, leaves) not in dropped(view)), (came, leaves)


def commands(view: FirewallView) -> list[str]:
    """Return the commands that the doctor gives, each once, where it came last: a reload after what it loads."""
    lines = [line.rpartition(": ")[2] for one in view.dropped for line in one.do.split("; ")]
    return list(dict.fromkeys(line for line in reversed(lines) if not line.startswith("and ")))[::-1]
