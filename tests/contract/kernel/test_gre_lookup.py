"""The GRE guard beside real GRE interfaces of one key: it guards what the kernel gives to the tunnel."""

import json
import socket
import struct
from dataclasses import replace
from ipaddress import ip_address
from itertools import product

import pytest

from contract.kernel.packets import ROUTER_MAC
from contract.namespaces import command, in_network_namespace, kernel_makes, needs
from dmvpn_agent.kernel.nftables.gre_guard import COUNTERS, GreGuard
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.source_filter import FilterMode
from dmvpn_agent.kernel.read_links import read_links
from fakes.waiting import until

pytestmark = [
    pytest.mark.contract,
    needs("nft"),
    pytest.mark.skipif(not kernel_makes("gre local 192.0.2.1 key 1"), reason="this kernel has no GRE"),
]

FAR, NEAR, UPLINKS = ("192.0.2.66", "192.0.2.77"), ("192.0.2.1", "192.0.2.5"), ("up0", "up1")
NODE = """
for name in up0 up1; do
  ip link add $name address 02:00:00:00:00:01 type veth peer name other-$name
  ip link set $name up; ip link set other-$name up
done
ip address add 192.0.2.1/24 dev up0
ip address add 192.0.2.5/24 dev up0
for name in all up0 up1; do echo 0 > /proc/sys/net/ipv4/conf/$name/rp_filter; done
nft 'add table inet test; add counter inet test arrived;
     add chain inet test input { type filter hook input priority 20; };
     add rule inet test input meta nfproto ipv4 meta l4proto gre counter name arrived'
"""
#: What ``gre1``, the tunnel, and ``gre7`` are made with.
PAIRS = [
    ("key 42 local 192.0.2.1", "key 42 dev up0"),
    ("key 42 local 192.0.2.1 dev up0", "key 42 dev up0"),
    ("key 42 dev up0", "key 42 remote 192.0.2.66"),
    ("key 42 dev up0", "key 42 dev up1"),
    ("key 42 local 192.0.2.1 dev up0", "key 42 local 192.0.2.1 dev up1"),
    ("key 42 dev up1", "key 42 local 192.0.2.5"),
    ("key 42", "key 42 remote 192.0.2.66 local 192.0.2.1"),
    ("local 192.0.2.1", "key 7"),
]


def _packet(far: str, near: str, key: int | None) -> bytes:
    gre = struct.pack("!HH", 0x2000 if key is not None else 0, 0x0800)
    gre += struct.pack("!I", key) if key is not None else b""
    payload = gre + bytes.fromhex("45000014000000000001 0000 0a000001 0a000002")
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, 47, 0)
    header += ip_address(far).packed + ip_address(near).packed
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", 0xFFFF - total) + header[12:] + payload


def _received(interface: str) -> int:
    (shown,) = json.loads(command("ip", "-s", "-j", "link", "show", "dev", interface))
    return sum(int(shown["stats64"]["rx"][what]) for what in ("packets", "errors", "dropped"))


def _counted(table: str = "dmvpn_agent", counter: str = COUNTERS["received"]) -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", table, counter))
    return int(shown["nftables"][-1]["counter"]["packets"])


@pytest.mark.parametrize(("tunnel", "other"), PAIRS)
@in_network_namespace
async def test_what_the_kernel_gives_to_the_tunnel_is_guarded_and_nothing_of_the_other_interface(
    tunnel: str, other: str
) -> None:
    """From two hosts, to two addresses, by two uplinks, with each key."""
    command("sh", "-c", NODE)
    for name, what in (("gre1", tunnel), ("gre7", other)):
        command("ip", "link", "add", name, "type", "gre", *what.split())
        command("ip", "link", "set", name, "up")
    guard = replace(GreGuard(FilterMode.COUNT), keys=frozenset()).observing(("gre1",), await read_links())
    await Nftables().install((guard.section(),))
    for far, near, uplink, key in product(FAR, NEAR, UPLINKS, (42, 7, 0, None)):
        before = _received("gre1"), _received("gre7"), _counted(), _counted("test", "arrived")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((f"other-{uplink}", 0))
            wire.send(ROUTER_MAC + bytes.fromhex("020000000009 0800") + _packet(far, near, key))
        await until(lambda: _counted("test", "arrived") > before[3])  # noqa: B023
        ours, others, guarded = _received("gre1") - before[0], _received("gre7") - before[1], _counted() - before[2]
        assert ours + others <= 1
        if ours or others:
            assert (guarded, far, near, uplink, key) == (ours, far, near, uplink, key)
