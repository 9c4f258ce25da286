"""The redirect rule in a real kernel, by the real nft."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.script import TABLE
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

RULE = RedirectRule(("gre1", "gre2"), 1, 24, 16, rate_per_minute=4, burst=1)
OPERATORS = """\
table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "eth0" counter accept
  }
}
table ip nat {
}
"""

#: A router whose tunnel is a veth pair: packets sent into the other end arrive through gre1.
ROUTER = """
ip link add gre1 address 02:00:00:00:00:01 type veth peer name other
ip link set gre1 up && ip link set other up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip address add 10.255.0.1/32 dev gre1
ip route add 10.0.0.0/8 dev gre1
ip -6 route add 2001:db8::/32 dev gre1
ip neigh add 10.2.0.2 lladdr 02:00:00:00:00:02 dev gre1
ip neigh add 2001:db8:2::2 lladdr 02:00:00:00:00:02 dev gre1
nft 'add table inet test; add counter inet test forwarded;
     add chain inet test forward { type filter hook forward priority 10; };
     add rule inet test forward iifname gre1 oifname gre1 counter name forwarded'
"""

pytestmark = [pytest.mark.contract, needs("nft")]


def _sections(rule: RedirectRule) -> tuple[Section, ...]:
    return desired_sections(TableSettings((), rule), (), {})


def _frame(ether_type: int, packet: bytes) -> bytes:
    return bytes.fromhex("020000000001 020000000002") + ether_type.to_bytes(2, "big") + packet


def _ipv4(source: str, destination: str) -> bytes:
    """Return a frame with a packet of an unassigned protocol without content."""
    header = bytearray.fromhex("4500 0014 0000 0000 40fd 0000") + ip_address(source).packed
    header += ip_address(destination).packed
    total = sum(header[at] << 8 | header[at + 1] for at in range(0, len(header), 2))
    header[10:12] = (0xFFFF - (total % 0xFFFF)).to_bytes(2, "big")
    return _frame(0x0800, bytes(header))


def _ipv6(source: str, destination: str) -> bytes:
    """Return a frame with a packet that has no next header."""
    header = bytes.fromhex("60000000 0000 3b 40")
    return _frame(0x86DD, header + ip_address(source).packed + ip_address(destination).packed)


@asynccontextmanager
async def _kept(telemetry: Telemetry) -> AsyncIterator[TableReconciler]:
    """A running keeper that the kernel notifies."""
    keeper = TableReconciler(TableSettings((), RULE), tuple, Nftables(), telemetry)
    async with running(NftablesNotifications(keeper.table_changed).run()), running(keeper.run()):
        await until(lambda: keeper.installed)
        yield keeper


@in_network_namespace
async def test_nft_shows_the_same_table_at_every_check() -> None:
    """Also after packets of new pairs."""
    firewall = Nftables()
    assert await firewall.show() is None
    await firewall.install(_sections(RULE))
    first = await firewall.show()
    assert first is not None
    command("nft", "add", "element", "inet", "dmvpn_agent", "redirected", "{ 10.0.0.0 . 10.1.0.0 }")
    command("nft", "add", "element", "inet", "dmvpn_agent", "redirected6", "{ 2001:db8:1:: . 2001:db8:2:: }")
    assert await firewall.show() == first
    await firewall.install(_sections(RULE))
    assert await firewall.show() == first


@pytest.mark.parametrize("mode", list(FilterMode))
@in_network_namespace
async def test_a_section_knows_what_it_declares(mode: FilterMode) -> None:
    """nft shows just that; ``doctor`` misses what is not there."""
    settings = TableSettings(("gre1", "gre2"), RULE, SourceFilter(mode, 0xFFFF0000))
    sections = desired_sections(settings, (), {})
    firewall = Nftables()
    await firewall.install(sections)
    shown = await firewall.show()
    assert shown is not None
    declared = frozenset[str]().union(*(section.objects for section in sections))
    assert declared == shown.content.keys() - {"table dmvpn_agent"}


@pytest.mark.parametrize(
    "rule",
    [
        RULE,
        replace(RULE, source_prefix_length=32, destination_prefix_length=1, burst=60000),
        replace(RULE, source_prefix_length_ipv6=128, destination_prefix_length_ipv6=1),
        replace(RULE, nflog_group=65535, rate_per_minute=60000, interfaces=("a.b-c_d",)),
    ],
)
@in_network_namespace
async def test_nft_accepts_every_rule_that_can_be_configured(rule: RedirectRule) -> None:
    """The extreme values of the configuration."""
    await Nftables().install(_sections(rule))
    ruleset = command("nft", "list", "ruleset")
    for name in rule.interfaces:
        assert f'iifname "{name}" oifname "{name}"' in ruleset


@in_network_namespace
async def test_a_refused_rule_is_reported_and_the_old_one_stays() -> None:
    """The script is one transaction; the error has nft's message."""
    firewall = Nftables()
    await firewall.install(_sections(RULE))
    before = await firewall.show()
    with pytest.raises(FirewallError, match=r"nft refuses table inet dmvpn_agent: .*Error"):
        await firewall.install(_sections(replace(RULE, interfaces=("x" * 40,))))
    assert await firewall.show() == before


@pytest.mark.parametrize(
    ("packet", "name", "pair"),
    [
        (_ipv4("10.1.0.2", "10.2.0.2"), "redirected", ["10.1.0.0", "10.2.0.0"]),
        (_ipv6("2001:db8:1::2", "2001:db8:2::2"), "redirected6", ["2001:db8:1::", "2001:db8:2::"]),
    ],
    ids=["IPv4", "IPv6"],
)
@in_network_namespace
async def test_one_packet_of_a_pair_of_networks_is_logged(packet: bytes, name: str, pair: list[str]) -> None:
    """Of packets that enter and leave by the same tunnel, in both IP versions."""
    firewall = Nftables()
    await firewall.install(_sections(RULE))
    command("sh", "-c", ROUTER)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("other", 0))
        for _ in range(3):
            wire.send(packet)
    await until(lambda: _packets("forwarded") == 3)
    shown = await firewall.show()
    assert shown is not None
    assert shown.counters["redirected"].packets == 1
    listed = json.loads(command("nft", "-j", "list", "set", "inet", "dmvpn_agent", name))["nftables"][-1]["set"]
    assert [element["elem"]["val"]["concat"] for element in listed["elem"]] == [pair]


def _packets(counter: str) -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", "test", counter))
    return int(shown["nftables"][-1]["counter"]["packets"])


@pytest.mark.parametrize(
    "harm",
    [
        ("flush", "ruleset"),
        ("delete", "table", "inet", "dmvpn_agent"),
        ("flush", "chain", "inet", "dmvpn_agent", "forward"),
        ("insert", "rule", "inet", "dmvpn_agent", "forward", "drop"),
        ("add", "table", "inet", "dmvpn_agent", "{ flags dormant; }"),
        ("add", "ct", "helper", "inet", "dmvpn_agent", "foreign", '{ type "ftp" protocol tcp; }'),
        ("add", "map", "inet", "dmvpn_agent", "foreign",
         "{ type ipv4_addr : ipv4_addr; elements = { 192.0.2.1 : 192.0.2.2 } }"),
    ],
    ids=" ".join,
)  # fmt: skip
@in_network_namespace
async def test_a_damaged_rule_is_written_again(harm: tuple[str, ...]) -> None:
    """The kernel notifies the agent, which checks at once."""
    telemetry = Telemetry()
    async with _kept(telemetry):
        good = command("nft", "-s", "list", "table", "inet", "dmvpn_agent")
        command("nft", *harm)
        await until(lambda: sum(telemetry.samples(metrics.NFTABLES_WRITES).values()) == 2)
        assert command("nft", "-s", "list", "table", "inet", "dmvpn_agent") == good


@in_network_namespace
async def test_the_operators_tables_are_not_touched() -> None:
    """They are identical after installation and repair."""
    command("nft", "-f", "-", stdin=OPERATORS)
    before = command("nft", "list", "table", "inet", "filter") + command("nft", "list", "table", "ip", "nat")
    telemetry = Telemetry()
    async with _kept(telemetry):
        command("nft", "delete", "table", "inet", "dmvpn_agent")
        await until(lambda: sum(telemetry.samples(metrics.NFTABLES_WRITES).values()) == 2)
    after = command("nft", "list", "table", "inet", "filter") + command("nft", "list", "table", "ip", "nat")
    assert after == before


@in_network_namespace
async def test_only_changes_of_the_agents_own_table_are_notified() -> None:
    """Of whatever kind; another table of its name in another family is not its own."""
    own, what = TABLE, "listens"
    changes: list[str] = []
    async with running(NftablesNotifications(lambda: changes.append(what)).run()):
        await until(lambda: changes)
        for what in (
            f"table ip {own.split()[1]} {{ set some {{ type ipv4_addr; }}\nchain some {{ }}\n}}",
            OPERATORS,
            f"table {own} {{ set some {{ type ipv4_addr; }}\nchain some {{ }}\n}}",
            f"add element {own} some {{ 192.0.2.1 }}",
            f"add rule {own} some counter",
            f"flush chain {own} some",
            "flush ruleset",
        ):
            command("nft", "-f", "-", stdin=what)
            if own in what or what == "flush ruleset":
                await until(lambda: changes[-1] == what)  # noqa: B023  awaited at once
    assert OPERATORS not in changes
    assert not [one for one in changes if one.startswith("table ip ")]


@in_network_namespace
async def test_packets_from_a_blocked_port_are_dropped_until_it_is_unblocked() -> None:
    """Another port of the same address is not affected, and the table counts as unchanged."""
    firewall = Nftables()
    await firewall.install(_sections(RULE))
    before = await firewall.show()
    command("ip", "link", "set", "lo", "up")
    end = ip_address("127.0.0.1"), 13043
    await firewall.block(end, timedelta(minutes=10))
    assert await firewall.show() == before
    assert _arrives(4500)
    assert not _arrives(13043)
    await firewall.unblock(end)
    await firewall.unblock(end)
    assert _arrives(13043)


@in_network_namespace
async def test_blocked_ports_stay_blocked_when_the_table_is_written_again() -> None:
    """Unblocked ones are not in it."""
    firewall = Nftables()
    command("ip", "link", "set", "lo", "up")
    blocked, unblocked = (ip_address("127.0.0.1"), 13043), (ip_address("127.0.0.1"), 13044)
    await firewall.install(_sections(RULE))
    await firewall.block(blocked, timedelta(minutes=10))
    await firewall.block(unblocked, timedelta(minutes=10))
    await firewall.unblock(unblocked)
    command("nft", "flush", "ruleset")
    await firewall.install(_sections(RULE))
    assert not _arrives(13043)
    assert _arrives(13044)
    await firewall.install(_sections(replace(RULE, burst=5)))
    assert not _arrives(13043)


def _arrives(port: int) -> bool:
    """Tell whether a datagram from this port arrives; on loopback at once."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        sender.bind(("127.0.0.1", port))
        sender.sendto(b"x", receiver.getsockname())
        try:
            return receiver.recv(16) == b"x"
        except BlockingIOError:
            return False


async def test_a_missing_nft_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the program."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FirewallError, match="nft cannot be started"):
        await Nftables().show()
