"""The source filter in a real kernel, by the real nft."""

import asyncio
import ctypes
import json
import threading
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from contract.kernel.packets import frame_ipv4
from contract.kernel.source_filters import GRE, HUB, ROUTER, Filter, filtered, packet_from, packets, peer, send
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import RECEIVED, SPOOFED, UNKNOWN_COUNTER, FilterMode, SourceFilter
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

OWN = (
    packet_from(1, "10.255.0.11"),
    packet_from(1, "10.1.0.7"),
    packet_from(1, "2001:db8:1::7"),
    packet_from(2, "10.2.0.9"),
)
FORGED = (
    packet_from(1, "10.2.0.7"),
    packet_from(1, "10.255.0.12"),
    packet_from(1, "8.8.8.8"),
    packet_from(1, "2001:db8:2::7"),
)


@pytest.mark.parametrize(("mode", "passing"), [(FilterMode.ENFORCE, 4), (FilterMode.COUNT, 8)])
@in_network_namespace
async def test_a_peer_sends_from_its_own_addresses_only(mode: FilterMode, passing: int) -> None:
    """To count lets forged packets pass; both modes count them, and other peers' packets are not touched."""
    async with filtered(mode, peer(1), peer(2)) as running_filter:
        send(*OWN, *FORGED)
        await until(lambda: packets("forwarded") == passing)
        assert await running_filter.counted(RECEIVED, peer(1)) == 3
        assert await running_filter.counted(RECEIVED, peer(2)) == 1
        assert await running_filter.counted(SPOOFED, peer(1)) == 4
        assert await running_filter.counted(SPOOFED, peer(2)) == 0
        assert packets("forwarded") == passing
        assert packets("foreign_mark") == passing  # another program's bits stay, the filter's are taken off


@in_network_namespace
async def test_the_outer_packet_gets_the_mark_of_its_nbma_address() -> None:
    """GRE from elsewhere, in the clear, has none, whatever mark it had before."""
    async with filtered(FilterMode.ENFORCE, peer(1)):
        gre = [frame_ipv4(source, "192.0.2.1", bytes((2, 0, 0, 0, 0, 2)), GRE)
               for source in ("203.0.113.1", "203.0.113.77")]  # fmt: skip
        send(*gre, interface="up0")
        await until(lambda: packets("marked_first") == 1 and packets("marked_nobody") == 1)


@in_network_namespace
async def test_a_hub_may_send_for_others_but_not_as_this_node() -> None:
    """Nor from networks that are withheld from it."""
    async with filtered(FilterMode.ENFORCE, HUB) as running_filter:
        send(
            packet_from(1, "10.3.0.1"),
            packet_from(1, "10.255.0.1"),
            packet_from(1, "10.7.0.1"),
            packet_from(1, "192.168.0.1"),
        )
        await until(lambda: packets("forwarded") == 1)
        assert await running_filter.counted(SPOOFED, HUB) == 3


@in_network_namespace
async def test_who_is_no_peer_sends_nothing() -> None:
    """A packet without a mark has its own counter."""
    async with filtered(FilterMode.ENFORCE, peer(1)) as running_filter:
        send(packet_from(4, "10.1.0.7"))
        await until(lambda: _counter(UNKNOWN_COUNTER) > 0)  # and what the other end sends by itself
        assert packets("forwarded") == 0
        assert await running_filter.counted(SPOOFED, peer(1)) == 0


def _counter(name: str) -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", "dmvpn_agent", name))
    return int(shown["nftables"][-1]["counter"]["packets"])


@in_network_namespace
async def test_a_quarantined_peer_is_cut_off_at_once_and_one_that_goes_loses_its_elements() -> None:
    """Without a rewrite of the table: the counters of others go on."""
    telemetry = Telemetry()
    async with filtered(FilterMode.ENFORCE, peer(1), peer(2), telemetry=telemetry) as running_filter:
        running_filter.peers = (peer(1, quarantined=True), peer(2))
        running_filter.table.trigger()
        await running_filter.wait_for("10.1.0.0/24", gone=True)
        send(*OWN)
        await until(lambda: packets("forwarded") == 1)
        assert await running_filter.counted(SPOOFED, peer(1)) == 3
        running_filter.peers = (peer(2),)
        running_filter.table.trigger()
        await running_filter.wait_for("203.0.113.1 :", gone=True)
        assert await running_filter.counted(RECEIVED, peer(2)) == 1
    assert {cause for (cause,) in telemetry.samples(metrics.NFTABLES_WRITES)} == {"start", "elements"}


@in_network_namespace
async def test_a_peer_without_prefixes_that_goes_loses_its_elements() -> None:
    """nft 1.0.6 does not find an address without a length in a set of concatenated intervals."""
    telemetry = Telemetry()
    bare = replace(peer(1), prefixes=())
    async with filtered(FilterMode.ENFORCE, bare, peer(2), telemetry=telemetry) as running_filter:
        running_filter.peers = (peer(2),)
        running_filter.table.trigger()
        await running_filter.wait_for("10.255.0.11", gone=True)
        await until(lambda: ("elements",) in telemetry.samples(metrics.NFTABLES_WRITES))
        assert running_filter.table.installed


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
    async with filtered(FilterMode.ENFORCE, peer(1)) as running_filter:
        good = command("nft", "-s", "list", "table", "inet", "dmvpn_agent")
        send(*OWN[:3], *FORGED)
        await until(lambda: packets("forwarded") == 3)
        assert await running_filter.counted(RECEIVED, peer(1)) == 3
        command("nft", *harm)
        await until(lambda: _shown() == good)
        assert await running_filter.counted(RECEIVED, peer(1)) == 3
        assert await running_filter.counted(SPOOFED, peer(1)) == 4


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
    async with filtered(FilterMode.ENFORCE, peer(1), telemetry=telemetry) as running_filter:
        assert '203.0.113.1 : "web"' in command("nft", "list", "map", "inet", "dmvpn_agent", "nbma4")
        send(*OWN[:3])
        assert await running_filter.counted(RECEIVED, peer(1)) == 3
    assert telemetry.samples(metrics.NFTABLES_WRITES) == {("start",): 1}


def _shown() -> str:
    """Return the table as nft lists it, or nothing."""
    if "inet dmvpn_agent" not in command("nft", "list", "tables"):
        return ""
    return command("nft", "-s", "list", "table", "inet", "dmvpn_agent")


@in_network_namespace
async def test_a_restart_keeps_the_marks_and_drops_nothing() -> None:
    """The second agent takes the marks from the table, although the peers come in another order."""
    async with filtered(FilterMode.ENFORCE, peer(2)) as running_filter:
        before = command("nft", "list", "map", "inet", "dmvpn_agent", "nbma4")
    again = Filter(FilterMode.ENFORCE, (peer(1), peer(2)), Telemetry())
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
    table = TableReconciler(enforcing, lambda: (peer(1),), firewall, Telemetry())
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
        replace(peer(2), protocol_address=ip_address("10.255.1.1") + at, identity=f"other{at}",
                nbma_address=ip_address("203.0.114.1") + at, prefixes=(ip_network(f"10.100.{at}.0/24"),))
        for at in range(200)
    )  # fmt: skip
    async with filtered(FilterMode.ENFORCE, peer(1), *others) as running_filter:
        table, sent, over = running_filter.table, 0, threading.Event()

        def send_on() -> None:
            nonlocal sent
            while not over.wait(0.0001):
                send(packet_from(1, "10.1.0.7"))
                sent += 1

        sending = asyncio.create_task(asyncio.to_thread(send_on))
        for mode in (FilterMode.COUNT, FilterMode.ENFORCE) * 10:
            table.reload(TableSettings(("gre1",), source_filter=SourceFilter(mode, 0xFFFF0000)))
            await until(lambda: table.in_force == table.settings)
        over.set()
        await sending
        await until(lambda: packets("forwarded") == sent)
        assert await running_filter.counted(SPOOFED, peer(1)) == 0


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
    async with filtered(FilterMode.ENFORCE, peer(1)) as running_filter:
        assert "fast" not in _shown()
        send(*OWN[:3], *FORGED)
        await until(lambda: packets("forwarded") == 3)
        assert await running_filter.counted(SPOOFED, peer(1)) == 4


@in_network_namespace
async def test_one_element_that_nft_refuses_affects_no_other_peer() -> None:
    """Without elements a peer is dropped, and the refusal is logged."""
    async with filtered(FilterMode.ENFORCE, peer(1)) as running_filter:
        firewall = running_filter.table._firewall
        change = firewall.change

        async def refusing(script: str) -> None:
            await change(script.replace("10.3.0.0/24", "10.3.0.0/99"))

        firewall.change = refusing  # type: ignore[method-assign]
        running_filter.peers = tuple(map(peer, range(1, 6)))
        running_filter.table.trigger()
        await running_filter.wait_for("10.5.0.0/24")
        await running_filter.wait_for("10.4.0.0/24")
        assert "10.3.0.0" not in command("nft", "list", "table", "inet", "dmvpn_agent")
        await until(lambda: running_filter.telemetry.value(metrics.NFTABLES_FAILURES) > 0)


@in_network_namespace
async def test_a_peer_loses_nothing_while_200_others_come_and_go() -> None:
    """Nor while the whole table is written again, because another program edited it; no forged packet passes."""
    async with filtered(FilterMode.ENFORCE, peer(1)) as running_filter:
        others = tuple(
            replace(peer(2), protocol_address=ip_address("10.254.0.1") + at, identity=f"other{at}",
                    nbma_address=ip_address("100.64.0.1") + at, prefixes=(ip_network(f"10.100.{at}.0/24"),))
            for at in range(200)
        )  # fmt: skip
        sent = 0
        for step in range(40):
            here = others[: step * 10 + 10] if step < 20 else others[(step - 20) * 10 :]
            running_filter.peers = (peer(1), *here)
            if step in {7, 30}:
                command("nft", "add", "counter", "inet", "dmvpn_agent", "of_another_program")
            running_filter.table.trigger()
            for _ in range(25):
                send(packet_from(1, "10.1.0.7"), packet_from(1, "10.2.0.7"))
                sent += 1
                await asyncio.sleep(0)
        await until(lambda: packets("forwarded") == sent)
        # What is counted between the last reading and a rewrite is lost.
        assert 0 < await running_filter.counted(RECEIVED, peer(1)) <= sent
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
    one = Filter(FilterMode.ENFORCE, tuple(peer(number) for number in range(1, 9)), Telemetry())
    firewall = _FlushedWhileRead()
    one.table = TableReconciler(one.settings, lambda: one.peers, firewall, one.telemetry)
    async with running(NftablesNotifications(one.table.table_changed).run()), running(one.table.run()):
        await until(lambda: firewall.flushed and one.table.installed)
        await one.wait_for("10.8.0.0/24")
    assert firewall.runs < 4
    assert one.telemetry.value(metrics.NFTABLES_FAILURES) == 0
