"""Groups in a real kernel: who may talk to whom through the node."""

import json
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from contract.kernel.packets import frame_ipv4, frame_ipv6
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.policy.groups import Group, GroupRule, Groups
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

ROUTER = """
ip link add gre1 address 02:00:00:00:00:01 type veth peer name other
ip link set gre1 up; ip link set other up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip address add 10.255.0.1/32 dev gre1
ip route add 10.0.0.0/8 dev gre1
ip -6 route add 2001:db8::/32 dev gre1
for number in 1 2 3 4; do
  ip neigh add 10.$number.0.7 lladdr 02:00:00:00:00:09 dev gre1
  ip neigh add 2001:db8:$number::7 lladdr 02:00:00:00:00:09 dev gre1
done
ip neigh add 10.9.0.1 lladdr 02:00:00:00:00:09 dev gre1
ip neigh add 10.9.0.7 lladdr 02:00:00:00:00:09 dev gre1
nft 'add table inet test; add counter inet test forwarded;
     add chain inet test forward { type filter hook forward priority 20; };
     add counter inet test last;
     add rule inet test forward ip saddr 10.77.0.1 counter name last accept;
     add rule inet test forward iifname gre1 counter name forwarded'
"""


def _peer(number: int, *groups: str) -> Peer:
    prefixes = (
        ip_network(f"10.{number}.0.0/24"),
        ip_network(f"10.{number}.1.0/24"),
        ip_network(f"2001:db8:{number}::/48"),
    )
    return Peer(
        ip_address(f"10.255.0.1{number}"), ip_address(f"203.0.113.{number}"), "gre1", None, prefixes, "", "", None,
        identity=str(number), groups=groups,
    )  # fmt: skip


PEERS = (_peer(1, "branches"), _peer(2, "branches"), _peer(3, "servers"), _peer(4))
MEMBERS = (Group("branches"), Group("servers", networks=(ip_network("10.9.0.0/16"),)))
ISOLATED = Groups(MEMBERS, (GroupRule(("branches", "branches"), False),))
ONE_PAIR = Groups(
    (*MEMBERS, Group("last", networks=(ip_network("10.77.0.0/16"),))),
    (GroupRule(("branches", "servers"), True), GroupRule(("last", "servers"), True)),
    accept=False,
)
CLOSED = Groups(MEMBERS, (GroupRule(("branches", "servers"), True), GroupRule(("servers", "*"), True)), accept=False)


@pytest.mark.parametrize(
    ("groups", "passing"),
    [
        (ISOLATED, {(1, 3), (3, 1), (1, 4), (4, 1), (1, 9)}),
        (CLOSED, {(1, 3), (3, 1), (1, 9), (3, 4), (4, 3)}),
    ],
    ids=["branches are apart", "closed by default"],
)
@in_network_namespace
async def test_only_groups_that_may_talk_to_each_other_do(groups: Groups, passing: set[tuple[int, int]]) -> None:
    """In both directions and both IP versions; 9 is a network of the servers that no peer has."""
    command("sh", "-c", ROUTER)
    table = TableReconciler(TableSettings(("gre1",), groups=groups), lambda: PEERS, Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        seen = set()
        for pair in ((1, 2), (1, 3), (3, 1), (1, 4), (4, 1), (3, 4), (4, 3), (1, 9)):
            if await _passes(*pair):
                seen.add(pair)
        assert seen == passing | ({(3, 4), (4, 3)} if groups.accept else set())


@in_network_namespace
async def test_a_peer_that_is_quarantined_or_denied_is_not_freer_than_before() -> None:
    """The rule that keeps the branches apart holds for it too, in both directions."""
    command("sh", "-c", ROUTER)
    peers = list(PEERS)
    settings = TableSettings(("gre1",), groups=ISOLATED)
    table = TableReconciler(settings, lambda: tuple(peers), Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        peers[0] = peers[0].in_quarantine()
        table.trigger()
        await until(lambda: "10.1.0.0" in command("nft", "list", "set", "inet", "dmvpn_agent", "restricted4"))
        assert not await _passes(1, 2)
        assert not await _passes(2, 1)
        assert await _passes(1, 3)


@in_network_namespace
async def test_no_rule_accepts_a_peer_that_is_quarantined_or_denied() -> None:
    """In a network that is closed by default, neither by its group nor by everybody's; the others' rules hold."""
    command("sh", "-c", ROUTER)
    peers = list(PEERS)
    groups = replace(CLOSED, rules=(*CLOSED.rules, GroupRule(("*", "*"), True)))
    table = TableReconciler(TableSettings(("gre1",), groups=groups), lambda: tuple(peers), Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        assert await _passes(1, 3)
        assert await _passes(2, 4)
        peers[0] = peers[0].in_quarantine()
        table.trigger()
        await until(lambda: "10.1.0.0" in command("nft", "list", "set", "inet", "dmvpn_agent", "restricted4"))
        for pair in ((1, 3), (3, 1), (1, 4), (1, 9)):
            assert not await _passes(*pair)
        for pair in ((2, 3), (3, 4), (2, 4)):
            assert await _passes(*pair)


@pytest.mark.parametrize(
    "networks", [("10.0.0.0/14", "2001:db8::/44"), ("10.2.0.0/25", "10.2.1.0/25", "2001:db8:2::/64")]
)
@pytest.mark.parametrize("groups", [ISOLATED, CLOSED], ids=["branches are apart", "closed by default"])
@in_network_namespace
async def test_a_peer_in_quarantine_takes_nothing_from_a_peer_that_has_its_addresses_now(
    networks: tuple[str, ...], groups: Groups
) -> None:
    """Neither is that peer restricted, nor does it get into the group of the one in quarantine."""
    command("sh", "-c", ROUTER)
    quarantined = replace(
        PEERS[0], prefixes=tuple(map(ip_network, networks)), protocol_address=ip_address("10.255.0.99"), identity="9"
    ).in_quarantine()
    peers = [quarantined, PEERS[0]]
    table = TableReconciler(TableSettings(("gre1",), groups=groups), lambda: tuple(peers), Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        assert not await _passes(1, 2)
        peers.append(replace(PEERS[1], groups=("servers",)))
        table.trigger()
        await until(lambda: "10.2.0.0/24" in command("nft", "list", "set", "inet", "dmvpn_agent", "group4_servers"))
        assert await _passes(1, 2)
        assert await _passes(2, 1)


@pytest.mark.parametrize(("groups", "passes"), [(ISOLATED, True), (ONE_PAIR, False)], ids=["apart", "closed"])
@in_network_namespace
async def test_a_default_route_puts_nobody_into_a_group(groups: Groups, passes: bool) -> None:
    """A branch carries the Internet; the packets between two others are no branch's."""
    command("sh", "-c", ROUTER)
    gateway = replace(PEERS[0], prefixes=(*PEERS[0].prefixes, ip_network("0.0.0.0/0"), ip_network("::/0")))
    peers = gateway, *PEERS[1:]
    table = TableReconciler(TableSettings(("gre1",), groups=groups), lambda: peers, Nftables(), Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        assert await _passes(4, 3) is passes
        assert await _passes(1, 3)


async def _passes(source: int, destination: int) -> bool:
    before, last, mac = _packets("forwarded"), _packets("last"), bytes.fromhex("020000000002")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("other", 0))
        wire.send(frame_ipv4(f"10.{source}.1.7", f"10.{destination}.0.7", mac))
        if destination != 9:
            wire.send(frame_ipv6(f"2001:db8:{source}::7", f"2001:db8:{destination}::7", mac))
        wire.send(frame_ipv4("10.77.0.1", "10.9.0.1", mac))  # between nobody and the servers: it passes, and is last
    await until(lambda: _packets("last") > last)
    passed = _packets("forwarded") - before
    sent = 1 if destination == 9 else 2
    assert passed in {0, sent}
    return passed == sent


def _packets(counter: str) -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", "test", counter))
    return int(shown["nftables"][-1]["counter"]["packets"])


@in_network_namespace
async def test_a_peer_of_another_group_changes_elements_only() -> None:
    """Adjacent prefixes stay separate elements, so that nothing is written twice."""
    command("sh", "-c", ROUTER)
    peers, telemetry = list(PEERS), Telemetry()
    settings = TableSettings(("gre1",), groups=ISOLATED)
    table = TableReconciler(settings, lambda: tuple(peers), Nftables(), telemetry)
    async with running(NftablesNotifications(table.table_changed).run()), running(table.run()):
        await until(lambda: table.installed)
        assert not await _passes(1, 2)
        peers[1] = replace(peers[1], groups=("servers",))
        table.trigger()
        await until(lambda: "10.2.1.0/24" in command("nft", "list", "set", "inet", "dmvpn_agent", "group4_servers"))
        assert await _passes(1, 2)
        shown = table.shown
        table.trigger()
        await until(lambda: table.shown is not shown)
        assert table.installed
