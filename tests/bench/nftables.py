"""The agent's nftables table with a thousand peers: transactions, memory, and what a forwarded packet costs.

In a network namespace. Packets enter and leave through a veth pair in place of the tunnel, with the mark that the
outer packet of GRE would have.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from statistics import median

import structlog

from contract.kernel.packets import frame_ipv4
from contract.namespaces import command, in_network_namespace
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.plan import changed_elements
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.table import table
from fakes.waiting import running, until

PEERS = 1000
FRAMES, PAIRS = 40_000, 9
SETTINGS = TableSettings(("gre1",), source_filter=SourceFilter(FilterMode.ENFORCE, 0xFFFF0000))
ROUTER = """
ip link add gre1 address 02:00:00:00:00:01 type veth peer name other
ip link set gre1 up; ip link set other up
echo 1 > /proc/sys/net/ipv4/ip_forward
ip route add 10.0.0.0/8 dev gre1
ip neigh add 10.2.0.2 lladdr 02:00:00:00:00:09 dev gre1
nft 'add table inet test; add chain inet test m { type filter hook prerouting priority -600; };
     add rule inet test m iifname gre1 meta mark set 0x10000'
"""


def peer(number: int) -> Peer:
    """Return a peer with three prefixes."""
    prefixes = tuple(ip_network((int(ip_address("10.16.0.0")) + (3 * number + at << 8), 24)) for at in range(3))
    return Peer(
        ip_address("10.255.0.1") + number, ip_address("100.64.0.1") + number, "gre1", 65000, prefixes, "", "", None,
        identity=str(number),
    )  # fmt: skip


async def _timed(action: Callable[[], Awaitable[object]], times: int = 5) -> float:
    """Return the median of the milliseconds that an action takes."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        await action()
        spent.append((time.perf_counter() - began) * 1000)
    return median(spent)


def _kernel_memory() -> int:
    """Return the kernel's memory that a table can lie in, in kB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(words[1]) for words in lines if words[0] in {"Slab:", "Percpu:", "VmallocUsed:"})


def _send(wire: socket.socket, frame: bytes) -> float:
    """Return the microseconds that a frame takes through the router; the kernel forwards it within the call."""
    began = time.perf_counter()
    for _ in range(FRAMES):
        wire.send(frame)
    return (time.perf_counter() - began) / FRAMES * 1e6


async def _cost(firewall: Nftables, peers: tuple[Peer, ...]) -> tuple[float, float]:
    """Return the microseconds of a packet without the table and with it, in turns."""
    without, within = [], []
    sections = desired_sections(SETTINGS, peers, {})
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("other", 0))
        frame = frame_ipv4("10.16.0.7", "10.2.0.2", bytes.fromhex("020000000002"))
        for _ in range(PAIRS):
            await firewall.remove()
            without.append(_send(wire, frame))
            await firewall.install(sections)
            within.append(_send(wire, frame))
    return median(without), median(within)


async def _gap(peers: list[Peer]) -> float:
    """Return the milliseconds from an accepted peer to its elements in the kernel, with the others there."""
    firewall, written = Nftables(), asyncio.Event()
    change = firewall.change

    async def recorded(script: str) -> None:
        await change(script)
        written.set()

    firewall.change = recorded  # type: ignore[method-assign]
    reconciler = TableReconciler(SETTINGS, lambda: tuple(peers), firewall, Telemetry())
    async with running(NftablesNotifications(reconciler.table_changed).run()), running(reconciler.run()):
        await until(lambda: reconciler.installed)

        async def accept() -> None:
            await asyncio.sleep(1)
            written.clear()
            peers.append(peer(len(peers)))
            reconciler.peers_changed()

        async def accepted() -> float:
            await accept()
            began = time.perf_counter()
            await written.wait()
            return (time.perf_counter() - began) * 1000

        return median([await accepted() for _ in range(5)])


@in_network_namespace
async def _measure() -> None:
    command("sh", "-c", ROUTER)
    peers, firewall = tuple(peer(number) for number in range(PEERS)), Nftables()
    sections = desired_sections(SETTINGS, peers, {})
    present = {name: members for section in sections for name, members in section.elements.items()}
    began = time.perf_counter()
    more = desired_sections(SETTINGS, (*peers, peer(PEERS)), present)
    computed = (time.perf_counter() - began) * 1000
    add, remove = changed_elements(more, present), changed_elements(sections, dict(more[-1].elements))
    assert add is not None
    assert remove is not None
    before = _kernel_memory()
    await firewall.install(sections)
    memory = _kernel_memory() - before
    additions, removals = [], []
    for _ in range(5):
        additions.append(await _timed(lambda: firewall.change(add.script), 1))
        removals.append(await _timed(lambda: firewall.change(remove.script), 1))
    loaded = await _timed(lambda: firewall.install(sections))
    read = await _timed(firewall.show)
    without, within = await _cost(firewall, peers)
    await firewall.remove()
    gap = await _gap(list(peers))
    rows = [
        ("elements", f"{sum(map(len, present.values()))}"),
        ("desired state computed", f"{computed:.1f} ms"),
        ("one peer added", f"{median(additions):.1f} ms"),
        ("one peer removed", f"{median(removals):.1f} ms"),
        ("from accepted to written", f"{gap:.1f} ms"),
        ("whole table written", f"{loaded:.1f} ms"),
        ("read back with counters", f"{read:.1f} ms"),
        ("memory of the kernel", f"{memory} kB"),
        ("a packet without the table", f"{without:.2f} us"),
        ("a packet with it", f"{within:.2f} us"),
    ]
    print(table((f"NFTABLES, {PEERS} PEERS", ""), rows))


def main() -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    _measure()


if __name__ == "__main__":
    main()
