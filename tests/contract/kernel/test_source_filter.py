"""The source filter in a real kernel, by the real nft.

This kernel may have no GRE: a rule of the test gives packets that arrive through the tunnel the mark of their outer
packet, by the MAC address. That the mark survives GRE is shown by the lab's scenario ``spoofing``.
"""

import asyncio
import ctypes
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from contract.kernel.packets import frame_ipv4, frame_ipv6
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import RECEIVED, SPOOFED, UNKNOWN_COUNTER, FilterMode, SourceFilter
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

FIRST, SECOND = 0x10000, 0x20000
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
    type filter hook prerouting priority -295;
    iifname gre1 ether saddr 02:00:00:00:00:02 meta mark set 0x10005
    iifname gre1 ether saddr 02:00:00:00:00:03 meta mark set 0x20005
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


def _peer(number: int, *, quarantined: bool = False) -> Peer:
    return Peer(
        ip_address(f"10.255.0.1{number}"), ip_address(f"203.0.113.{number}"), "gre1", 65000 + number,
        (ip_network(f"10.{number}.0.0/24"), ip_network(f"2001:db8:{number}::/48")), "", "", None,
        identity=str(number), quarantined=quarantined,
    )  # fmt: skip


HUB = Peer(
    ip_address("10.255.0.11"), ip_address("203.0.113.1"), "gre1", None, (), "", "", None,
    transit=((ip_network("10.0.0.0/8"), 32),), withheld=(ip_network("10.7.0.0/16"),),
)  # fmt: skip


class _Filter:
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
async def _filter(mode: FilterMode, *peers: Peer, telemetry: Telemetry | None = None) -> AsyncIterator[_Filter]:
    command("sh", "-c", ROUTER)
    one = _Filter(mode, peers, telemetry or Telemetry())
    async with running(NftablesNotifications(one.table.table_changed).run()), running(one.table.run()):
        await until(lambda: one.table.installed)
        yield one


def _send(*frames: bytes, interface: str = "gre1") -> None:
    """Send frames in, and one more that says when they have arrived."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((f"other-{interface}", 0))
        for frame in frames:
            wire.send(frame)


def _packets(counter: str) -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", "test", counter))
    return int(shown["nftables"][-1]["counter"]["packets"])


def _from(number: int, source: str) -> bytes:
    """A packet from the peer with this number, through the hub."""
    mac = bytes((2, 0, 0, 0, 0, number + 1))
    if ":" in source:
        return frame_ipv6(source, "2001:db8:9::2", mac)
    return frame_ipv4(source, "10.2.0.2", mac)


OWN = (_from(1, "10.255.0.11"), _from(1, "10.1.0.7"), _from(1, "2001:db8:1::7"), _from(2, "10.2.0.9"))
FORGED = (_from(1, "10.2.0.7"), _from(1, "10.255.0.12"), _from(1, "8.8.8.8"), _from(1, "2001:db8:2::7"))


@pytest.mark.parametrize(("mode", "passing"), [(FilterMode.ENFORCE, 4), (FilterMode.COUNT, 8)])
@in_network_namespace
async def test_a_peer_sends_from_its_own_addresses_only(mode: FilterMode, passing: int) -> None:
    """To count lets forged packets pass; both modes count them, and other peers' packets are not touched."""
    async with _filter(mode, _peer(1), _peer(2)) as running_filter:
        _send(*OWN, *FORGED)
        await until(lambda: _packets("forwarded") == passing)
        assert await running_filter.counted(RECEIVED, _peer(1)) == 3
        assert await running_filter.counted(RECEIVED, _peer(2)) == 1
        assert await running_filter.counted(SPOOFED, _peer(1)) == 4
        assert await running_filter.counted(SPOOFED, _peer(2)) == 0
        assert _packets("forwarded") == passing
        assert _packets("foreign_mark") == passing  # another program's bits stay, the filter's are taken off


@in_network_namespace
async def test_the_outer_packet_gets_the_mark_of_its_nbma_address() -> None:
    """GRE from elsewhere, in the clear, has none, whatever mark it had before."""
    async with _filter(FilterMode.ENFORCE, _peer(1)):
        gre = [frame_ipv4(source, "192.0.2.1", bytes((2, 0, 0, 0, 0, 2)), GRE)
               for source in ("203.0.113.1", "203.0.113.77")]  # fmt: skip
        _send(*gre, interface="up0")
        await until(lambda: _packets("marked_first") == 1 and _packets("marked_nobody") == 1)


@in_network_namespace
async def test_a_hub_may_send_for_others_but_not_as_this_node() -> None:
    """Nor from networks that are withheld from it."""
    async with _filter(FilterMode.ENFORCE, HUB) as running_filter:
        _send(_from(1, "10.3.0.1"), _from(1, "10.255.0.1"), _from(1, "10.7.0.1"), _from(1, "192.168.0.1"))
        await until(lambda: _packets("forwarded") == 1)
        assert await running_filter.counted(SPOOFED, HUB) == 3


@in_network_namespace
async def test_who_is_no_peer_sends_nothing() -> None:
    """A packet without a mark has its own counter."""
    async with _filter(FilterMode.ENFORCE, _peer(1)) as running_filter:
        _send(_from(4, "10.1.0.7"))
        await until(lambda: _counter(UNKNOWN_COUNTER) > 0)  # and what the other end sends by itself
        assert _packets("forwarded") == 0
        assert await running_filter.counted(SPOOFED, _peer(1)) == 0


def _counter(name: str) -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", "dmvpn_agent", name))
    return int(shown["nftables"][-1]["counter"]["packets"])


@in_network_namespace
async def test_a_quarantined_peer_is_cut_off_at_once_and_one_that_goes_loses_its_elements() -> None:
    """Without a rewrite of the table: the counters of others go on."""
    telemetry = Telemetry()
    async with _filter(FilterMode.ENFORCE, _peer(1), _peer(2), telemetry=telemetry) as running_filter:
        running_filter.peers = (_peer(1, quarantined=True), _peer(2))
        running_filter.table.trigger()
        await running_filter.wait_for("10.1.0.0/24", gone=True)
        _send(*OWN)
        await until(lambda: _packets("forwarded") == 1)
        assert await running_filter.counted(SPOOFED, _peer(1)) == 3
        running_filter.peers = (_peer(2),)
        running_filter.table.trigger()
        await running_filter.wait_for("203.0.113.1 :", gone=True)
        assert await running_filter.counted(RECEIVED, _peer(2)) == 1
    assert {cause for (cause,) in telemetry.samples(metrics.NFTABLES_WRITES)} == {"start", "elements"}


@pytest.mark.parametrize(
    "harm",
    [
        ("flush", "ruleset"),
        ("flush", "set", "inet", "dmvpn_agent", "sources4_gre1"),
        ("flush", "map", "inet", "dmvpn_agent", "nbma4"),
        ("add", "element", "inet", "dmvpn_agent", "sources4_gre1", "{ 0x10000 . 8.8.8.0/24 }"),
        ("flush", "chain", "inet", "dmvpn_agent", "spoofed"),
        ("delete", "element", "inet", "dmvpn_agent", "senders", "{ 0x10000 }"),
    ],
    ids=" ".join,
)
@in_network_namespace
async def test_what_another_program_changes_is_put_right(harm: tuple[str, ...]) -> None:
    """The totals do not fall."""
    async with _filter(FilterMode.ENFORCE, _peer(1)) as running_filter:
        good = command("nft", "-s", "list", "table", "inet", "dmvpn_agent")
        _send(*OWN[:3], *FORGED)
        await until(lambda: _packets("forwarded") == 3)
        assert await running_filter.counted(RECEIVED, _peer(1)) == 3
        command("nft", *harm)
        await until(lambda: _shown() == good)
        assert await running_filter.counted(RECEIVED, _peer(1)) == 3
        assert await running_filter.counted(SPOOFED, _peer(1)) == 4


CLONE_NEWNS = 0x20000


@pytest.mark.skipif(not Path("/etc/iproute2").is_dir(), reason="iproute2 keeps its names elsewhere")
@in_network_namespace
async def test_names_of_marks_do_not_matter() -> None:
    """nft shows 0x10000 as ``web`` if /etc/iproute2/rt_marks says so."""
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    command("mount", "--make-rprivate", "/")
    command("mount", "-t", "tmpfs", "none", "/etc/iproute2")
    Path("/etc/iproute2/rt_marks").write_text("0x10000 web\n")
    telemetry = Telemetry()
    async with _filter(FilterMode.ENFORCE, _peer(1), telemetry=telemetry) as running_filter:
        assert '203.0.113.1 : "web"' in command("nft", "list", "map", "inet", "dmvpn_agent", "nbma4")
        _send(*OWN[:3])
        assert await running_filter.counted(RECEIVED, _peer(1)) == 3
    assert telemetry.samples(metrics.NFTABLES_WRITES) == {("start",): 1}


def _shown() -> str:
    """Return the table as nft lists it, or nothing."""
    if "inet dmvpn_agent" not in command("nft", "list", "tables"):
        return ""
    return command("nft", "-s", "list", "table", "inet", "dmvpn_agent")


@in_network_namespace
async def test_a_restart_keeps_the_marks_and_drops_nothing() -> None:
    """The second agent takes the marks from the table, although the peers come in another order."""
    async with _filter(FilterMode.ENFORCE, _peer(2)) as running_filter:
        before = command("nft", "list", "map", "inet", "dmvpn_agent", "nbma4")
    again = _Filter(FilterMode.ENFORCE, (_peer(1), _peer(2)), Telemetry())
    async with running(again.table.run()):
        await until(lambda: again.table.installed)
        after = command("nft", "list", "map", "inet", "dmvpn_agent", "nbma4")
    assert "203.0.113.2 : 0x00010000" in before
    assert "203.0.113.2 : 0x00010000" in after
    assert "203.0.113.1 : 0x00020000" in after
    assert running_filter.settings == again.settings


@in_network_namespace
async def test_marking_is_in_force_before_anything_is_dropped() -> None:
    """The rules that drop come in a transaction of their own if the filter is new, and in the same one later."""
    scripts: list[str] = []
    command("sh", "-c", ROUTER)
    firewall = Nftables()
    nft = firewall._nft

    async def recorded(*words: str, stdin: str = "") -> object:
        if stdin:
            scripts.append(stdin)
        return await nft(*words, stdin=stdin)

    firewall._nft = recorded  # type: ignore[method-assign,assignment]
    counting, enforcing = (
        TableSettings(("gre1",), source_filter=SourceFilter(mode, 0xFFFF0000))
        for mode in (FilterMode.COUNT, FilterMode.ENFORCE)
    )
    table = TableReconciler(enforcing, lambda: (_peer(1),), firewall, Telemetry())
    async with running(table.run()):
        await until(lambda: table.installed)
        assert [("drop\n" in script.split("senders", 1)[-1], "chain mark_peers" in script) for script in scripts] == [
            (False, True), (True, False),
        ]  # fmt: skip
        for settings in (counting, enforcing):
            scripts.clear()
            table.reload(settings)
            await until(lambda: len(scripts) == 1)
            await asyncio.sleep(0)
        assert "senders drop" in scripts[0]


@in_network_namespace
async def test_no_packet_is_lost_when_the_mode_changes() -> None:
    """The sets stay: the kernel has the elements of new sets later than the rules that look them up."""
    others = tuple(
        replace(_peer(2), protocol_address=ip_address("10.255.1.1") + at, identity=f"other{at}",
                nbma_address=ip_address("203.0.114.1") + at, prefixes=(ip_network(f"10.100.{at}.0/24"),))
        for at in range(200)
    )  # fmt: skip
    async with _filter(FilterMode.ENFORCE, _peer(1), *others) as running_filter:
        table, sent, over = running_filter.table, 0, threading.Event()

        def send() -> None:
            nonlocal sent
            while not over.wait(0.0001):
                _send(_from(1, "10.1.0.7"))
                sent += 1

        sending = asyncio.create_task(asyncio.to_thread(send))
        for mode in (FilterMode.COUNT, FilterMode.ENFORCE) * 10:
            table.reload(TableSettings(("gre1",), source_filter=SourceFilter(mode, 0xFFFF0000)))
            await until(lambda: table.in_force == table.settings)
        over.set()
        await sending
        await until(lambda: _packets("forwarded") == sent)
        assert await running_filter.counted(SPOOFED, _peer(1)) == 0


@in_network_namespace
async def test_a_table_whose_sets_are_declared_otherwise_is_written_as_a_whole() -> None:
    """As after an upgrade; nft refuses to declare a set in another way. An unknown object goes too."""
    command(
        "nft",
        "-f",
        "-",
        stdin="""
table inet dmvpn_agent {
  limit fast { rate 5/second; }
  map senders { type ipv4_addr : mark; }
  chain spoofed { ip saddr 192.0.2.1 drop; }
}
""",
    )
    async with _filter(FilterMode.ENFORCE, _peer(1)) as running_filter:
        assert "fast" not in _shown()
        _send(*OWN[:3], *FORGED)
        await until(lambda: _packets("forwarded") == 3)
        assert await running_filter.counted(SPOOFED, _peer(1)) == 4


@in_network_namespace
async def test_one_element_that_nft_refuses_affects_no_other_peer() -> None:
    """Without elements a peer is dropped, and the refusal is logged."""
    async with _filter(FilterMode.ENFORCE, _peer(1)) as running_filter:
        firewall = running_filter.table._firewall
        change = firewall.change

        async def refusing(script: str) -> None:
            await change(script.replace("10.3.0.0/24", "10.3.0.0/99"))

        firewall.change = refusing  # type: ignore[method-assign]
        running_filter.peers = tuple(map(_peer, range(1, 6)))
        running_filter.table.trigger()
        await running_filter.wait_for("10.5.0.0/24")
        await running_filter.wait_for("10.4.0.0/24")
        assert "10.3.0.0" not in command("nft", "list", "table", "inet", "dmvpn_agent")
        await until(lambda: running_filter.telemetry.value(metrics.NFTABLES_FAILURES) > 0)


@in_network_namespace
async def test_a_peer_loses_nothing_while_200_others_come_and_go() -> None:
    """Nor while the whole table is written again, because another program edited it; no forged packet passes."""
    async with _filter(FilterMode.ENFORCE, _peer(1)) as running_filter:
        others = tuple(
            replace(_peer(2), protocol_address=ip_address("10.254.0.1") + at, identity=f"other{at}",
                    nbma_address=ip_address("100.64.0.1") + at, prefixes=(ip_network(f"10.100.{at}.0/24"),))
            for at in range(200)
        )  # fmt: skip
        sent = 0
        for step in range(40):
            here = others[: step * 10 + 10] if step < 20 else others[(step - 20) * 10 :]
            running_filter.peers = (_peer(1), *here)
            if step in {7, 30}:
                command("nft", "add", "counter", "inet", "dmvpn_agent", "of_another_program")
            running_filter.table.trigger()
            for _ in range(25):
                _send(_from(1, "10.1.0.7"), _from(1, "10.2.0.7"))
                sent += 1
                await asyncio.sleep(0)
        await until(lambda: _packets("forwarded") == sent)
        # What is counted between the last reading and a rewrite is lost.
        assert 0 < await running_filter.counted(RECEIVED, _peer(1)) <= sent
    causes = running_filter.telemetry.samples(metrics.NFTABLES_WRITES)
    assert causes["changed",] > 0
    assert causes["elements",] > 0


class _FlushedWhileRead(Nftables):
    """Another program flushes all rules between the agent's reading of the table and of its sets, once."""

    flushed = False
    runs = 0

    async def _list(self, *words: str) -> str | None:
        if words[0] == "list" and not self.flushed:
            self.flushed = True
            command("nft", "delete", "table", "inet", "dmvpn_agent")
        return await super()._list(*words)

    async def change(self, script: str) -> None:
        self.runs += 1
        await super().change(script)


@in_network_namespace
async def test_a_table_flushed_while_it_is_read_is_written_again_as_a_whole() -> None:
    """Not element by element: nft would refuse each, and a thousand peers have 7,000."""
    command("sh", "-c", ROUTER)
    one = _Filter(FilterMode.ENFORCE, tuple(_peer(number) for number in range(1, 9)), Telemetry())
    firewall = _FlushedWhileRead()
    one.table = TableReconciler(one.settings, lambda: one.peers, firewall, one.telemetry)
    async with running(NftablesNotifications(one.table.table_changed).run()), running(one.table.run()):
        await until(lambda: firewall.flushed and one.table.installed)
        await one.wait_for("10.8.0.0/24")
    assert firewall.runs < 4
    assert one.telemetry.value(metrics.NFTABLES_FAILURES) == 0
