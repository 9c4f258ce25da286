"""The table where the tunnel is in a VRF, in a kernel that has VRFs: in the forward hook packets come from the VRF.

The tunnel is a veth pair, and a rule of the test gives packets that arrive through it the mark of their outer packet.
"""

import json
import socket
from ipaddress import ip_address, ip_network

import pytest

from contract.kernel.packets import frame_ipv4, frame_ipv6
from contract.namespaces import command, in_network_namespace, kernel_makes, needs
from dmvpn_agent.kernel.nftables.mss_clamp import COUNTER as CLAMPED
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import COUNTER as REDIRECTED
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.groups import Group, GroupRule, Groups
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [
    pytest.mark.contract,
    needs("nft"),
    pytest.mark.skipif(not kernel_makes("vrf table 10"), reason="this kernel has no VRF"),
]

ROUTER = """
ip link add red type vrf table 10
ip link set red up
for name in gre1 lan0; do
  ip link add $name address 02:00:00:00:00:01 type veth peer name other-$name
  ip link set $name master red
  ip link set $name up; ip link set other-$name up
done
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
for name in all gre1 lan0; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done
ip address add 10.255.0.1/32 dev gre1
for net in "10.1.0.0/16 gre1" "10.2.0.0/16 gre1" "10.9.0.0/16 lan0" "2001:db8:1::/48 gre1" "2001:db8:2::/48 gre1" \
           "2001:db8:9::/48 lan0"; do
  set -- $net
  ip route add $1 dev $2 vrf red
done
for neighbour in "10.1.0.7 gre1" "10.2.0.7 gre1" "10.9.0.7 lan0" "2001:db8:1::7 gre1" "2001:db8:2::7 gre1" \
                 "2001:db8:9::7 lan0"; do
  set -- $neighbour
  ip neigh add $1 lladdr 02:00:00:00:00:09 dev $2
done
nft -f - <<END
table inet test {
  counter from_gre1 { }
  counter from_vrf { }
  counter from_gre1_in_vrf { }
  counter to_gre1 { }
  counter received { }
  counter received_again { }
  counter forwarded { }
  chain marking {
    type filter hook prerouting priority -600;
    iifname gre1 meta l4proto 0xfd counter name received
    iifname red meta l4proto 0xfd counter name received_again
    iifname gre1 ether saddr 02:00:00:00:00:01 meta mark set 0x10000
    iifname gre1 ether saddr 02:00:00:00:00:02 meta mark set 0x20000
  }
  chain first {
    type filter hook forward priority -200;
    meta l4proto != 0xfd accept
    iifname gre1 counter name from_gre1
    iifname red counter name from_vrf
    meta sdifname gre1 counter name from_gre1_in_vrf
    oifname gre1 counter name to_gre1
  }
  chain last {
    type filter hook forward priority 20;
    counter name forwarded
  }
}
END
"""


def _peer(number: int, group: str) -> Peer:
    return Peer(
        ip_address(f"10.255.0.1{number}"), ip_address(f"203.0.113.{number}"), "gre1", None,
        (ip_network(f"10.{number}.0.0/24"), ip_network(f"2001:db8:{number}::/48")), "", "", None,
        identity=str(number), groups=(group,),
    )  # fmt: skip


PEERS = (_peer(1, "branches"), _peer(2, "guests"))
LAN = (ip_network("10.9.0.0/16"), ip_network("2001:db8:9::/48"))
GROUPS = Groups((Group("branches"), Group("guests"), Group("servers", networks=LAN)),
                (GroupRule(("guests", "servers"), False),))  # fmt: skip


def _send(interface: str, *frames: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((f"other-{interface}", 0))
        for frame in frames:
            wire.send(frame)


def _frames(sender: int, source: int, destination: int) -> list[bytes]:
    """An IPv4 and an IPv6 packet from the peer with this number."""
    mac = bytes((2, 0, 0, 0, 0, sender))
    return [
        frame_ipv4(f"10.{source}.0.7", f"10.{destination}.0.7", mac),
        frame_ipv6(f"2001:db8:{source}::7", f"2001:db8:{destination}::7", mac),
    ]


def _packets(counter: str, table: str = "test") -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", table, counter))
    return int(shown["nftables"][-1]["counter"]["packets"])


@in_network_namespace
async def test_the_forward_hook_shows_the_vrf_and_prerouting_the_interface_first() -> None:
    """And that a packet leaves by the interface itself: what the rules rely on."""
    command("sh", "-c", ROUTER)
    _send("gre1", _frames(1, 1, 2)[0], _frames(1, 1, 9)[0])
    await until(lambda: _packets("from_vrf") == 2)
    seen = {
        name: _packets(name) for name in ("received", "received_again", "from_gre1", "from_gre1_in_vrf", "to_gre1")
    }
    assert seen == {"received": 2, "received_again": 2, "from_gre1": 0, "from_gre1_in_vrf": 2, "to_gre1": 1}


@in_network_namespace
async def test_source_filter_groups_and_redirect_hold_in_a_vrf() -> None:
    """Forged packets go nowhere, groups are apart in both directions, and only tunnel to tunnel is logged."""
    command("sh", "-c", ROUTER)
    rule = RedirectRule(("gre1",), 7, 24, 24, rate_per_minute=60, burst=100)
    settings = TableSettings(("gre1",), rule, SourceFilter(FilterMode.ENFORCE, 0xFFFF0000), GROUPS)
    table = TableReconciler(settings, lambda: PEERS, Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        _send("gre1", *_frames(2, 1, 9), *_frames(2, 1, 2))  # with the other peer's source
        _send("gre1", *_frames(2, 2, 9))  # a guest to the servers
        _send("lan0", *_frames(9, 9, 2))  # and back
        _send("gre1", *_frames(1, 1, 9), *_frames(1, 1, 2), *_frames(2, 2, 1))
        _send("lan0", *_frames(9, 9, 1))
        await until(lambda: _packets("forwarded") >= 8)
        assert _packets("forwarded") == 8
        assert _packets("group_rule_1", "dmvpn_agent") == 4
        assert _packets(REDIRECTED, "dmvpn_agent") == 4


@in_network_namespace
async def test_connections_of_both_directions_are_clamped_in_a_vrf() -> None:
    """The rule sees the packets that come in by the tunnel too."""
    command("sh", "-c", ROUTER)
    table = TableReconciler(TableSettings(("gre1",), clamps_mss=True), lambda: (), Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        for name, packet in (("gre1", _syn(1, 9)), ("lan0", _syn(9, 1))):
            _send(name, packet)
        await until(lambda: _packets(CLAMPED, "dmvpn_agent") == 2)


def _syn(source: int, destination: int) -> bytes:
    """A TCP SYN without options; its checksum does not matter to a router."""
    frame = bytearray(frame_ipv4(f"10.{source}.0.7", f"10.{destination}.0.7", bytes.fromhex("020000000001"), 6))
    tcp = bytes.fromhex("0401 0050 00000001 00000000 5002 0400 0000 0000")
    header = frame[14:34]
    header[2:4], header[10:12] = (20 + len(tcp)).to_bytes(2, "big"), b"\0\0"
    total = sum(header[at] << 8 | header[at + 1] for at in range(0, 20, 2))
    header[10:12] = (0xFFFF - (total % 0xFFFF)).to_bytes(2, "big")
    return bytes(frame[:14] + header) + tcp
