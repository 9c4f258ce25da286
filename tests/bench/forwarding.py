"""What the table costs a hub that forwards: iperf3 between two spokes over GRE, without the table and with it.

The kernel must have GRE and ESP; else all of it runs in the lab's VM, and only the ratio says something. The table
has a thousand peers, with the source filter in ``enforce``; with ESP the guard too.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.nftables import PEERS, SETTINGS, peer
from contract.namespaces import command
from dmvpn_agent.kernel.nftables.desired import desired_sections
from dmvpn_agent.kernel.nftables.gre_guard import GreGuard
from dmvpn_agent.kernel.nftables.script import render
from dmvpn_agent.kernel.nftables.source_filter import FilterMode
from dmvpn_agent.view.table import table
from dmvpn_lab import kernel

CHECKOUT = Path(__file__).parents[2]
PAIRS, SECONDS, VM_SECONDS = 7, 4, 1800
HUB = "hub"
KEY = 42
#: What iperf3 is given for each figure.
KINDS = {"TCP, Mbit/s": ("-M", "1300"), "UDP of 100 bytes, packets/s": ("-u", "-b", "0", "-l", "100")}
_SEAL = "aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128"


@dataclass(frozen=True)
class _Node:
    name: str
    nbma: str
    protocol: str
    lan: str = ""


# The spokes are the first peers of the table.
SPOKES = (
    _Node("spoke1", "100.64.0.1", "10.255.0.1", "10.16.0.7"),
    _Node("spoke2", "100.64.0.2", "10.255.0.2", "10.16.3.7"),
)
ROUTER = _Node(HUB, "100.64.200.1", "10.255.9.9")


def _on(node: _Node, *lines: str) -> str:
    return command("ip", "netns", "exec", node.name, "sh", "-ec", "\n".join(lines))


def _build() -> None:
    command("sh", "-ec", "ip link add wan type bridge; ip link set wan up")
    for node in (*SPOKES, ROUTER):
        link = f"ip link add to-{node.name} type veth peer name eth0 netns {node.name}"
        command("sh", "-ec", f"ip netns add {node.name}; {link}; ip link set to-{node.name} master wan up")
        _on(
            node,
            f"ip link set lo up; ip address add {node.nbma}/10 dev eth0; ip link set eth0 up",
            f"ip link add gre1 type gre local {node.nbma} key {KEY} ttl 64; ip link set gre1 mtu 1400 up",
            f"ip address add {node.protocol}/32 dev gre1",
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0",
        )
    for spoke, other in (SPOKES, SPOKES[::-1]):
        _on(spoke, *_neighbor(ROUTER), f"ip address add {spoke.lan}/32 dev lo",
            f"ip route add {other.lan} via {ROUTER.protocol} dev gre1 src {spoke.lan}")  # fmt: skip
        _on(ROUTER, *_neighbor(spoke), f"ip route add {spoke.lan} via {spoke.protocol} dev gre1")


def _neighbor(node: _Node) -> tuple[str, str]:
    return (
        f"ip neighbour add {node.protocol} lladdr {node.nbma} dev gre1",
        f"ip route add {node.protocol} dev gre1",
    )


def _encrypt() -> None:
    for number, spoke in enumerate(SPOKES):
        for at, (source, to) in enumerate(((spoke, ROUTER), (ROUTER, spoke))):
            ends = f"src {source.nbma} dst {to.nbma}"
            template = f"tmpl {ends} proto esp reqid 1 mode transport"
            for node in (spoke, ROUTER):
                direction = "out" if node is source else "in"
                _on(
                    node,
                    f"ip xfrm state add {ends} proto esp spi {256 + 2 * number + at} mode transport reqid 1 {_SEAL}",
                    f"ip xfrm policy add {ends} proto gre dir {direction} {template}",
                )


def _table(*, encrypted: bool) -> tuple[str, str]:
    """Return the transactions that the agent makes: the last rules come after the elements."""
    guard = GreGuard(FilterMode.ENFORCE, frozenset({KEY})) if encrypted else None
    sections = desired_sections(replace(SETTINGS, guard=guard), tuple(map(peer, range(PEERS))), {})
    late = "".join(section.late for section in sections)
    return render(replace(section, late="") for section in sections), late


def _load(*scripts: str) -> None:
    for script in scripts:
        command("ip", "netns", "exec", ROUTER.name, "nft", "-f", "-", stdin=script)


def _iperf(*options: str) -> float:
    """Return Mbit/s of TCP, or the packets of UDP that arrive in a second."""
    first, second = SPOKES
    answer = _on(first, f"iperf3 -J -c {second.lan} -B {first.lan} -t {SECONDS} -O 1 {' '.join(options)}")
    end = json.loads(answer)["end"]
    if "-u" in options:
        return float((end["sum"]["packets"] - end["sum"]["lost_packets"]) / end["sum"]["seconds"])
    return float(end["sum_received"]["bits_per_second"]) / 1e6


def _compare(scripts: tuple[str, ...], kind: str) -> tuple[str, str, str, str]:
    """Return the medians without the table and with it, and that of the pairs' ratios."""
    without: list[float] = []
    within: list[float] = []
    for number in range(PAIRS):
        turns = [(("flush ruleset",), without), (scripts, within)]
        for rules, figures in turns if number % 2 == 0 else turns[::-1]:  # whichever is first has the colder caches
            _load(*rules)
            figures.append(_iperf(*KINDS[kind]))
        print(f"{kind}, {number + 1} of {PAIRS}: {without[-1]:.0f}, with the table {within[-1]:.0f}", flush=True)
    ratio = median(new / old for old, new in zip(without, within, strict=True))
    return kind, f"{median(without):.0f}", f"{median(within):.0f}", f"{ratio:.3f}"


@contextmanager
def _server() -> Iterator[None]:
    """Have the second spoke answer iperf3."""
    answers = ["ip", "netns", "exec", SPOKES[1].name, "iperf3", "-s", "-B", SPOKES[1].lan]
    with subprocess.Popen(answers, stdout=subprocess.DEVNULL) as server:
        try:
            _on(SPOKES[1], "until ss -Hltn 'sport = 5201' | grep -q .; do sleep 0.1; done")
            _on(SPOKES[0], f"until ping -c 1 -W 1 -I {SPOKES[0].lan} {SPOKES[1].lan} >/dev/null; do :; done")
            yield
        finally:
            server.kill()


def measure() -> None:
    """Print the figures of this kernel, in this network namespace and three new ones."""
    _build()
    rows = []
    for name, encrypted in (("GRE", False), ("ESP", True)):
        if encrypted:
            _encrypt()
        scripts = _table(encrypted=encrypted)
        with _server():
            rows += [(name, *_compare(scripts, kind)) for kind in KINDS]
    print(table((f"FORWARDED, {PEERS} PEERS", "", "WITHOUT", "WITH", "RATIO"), rows))


def main() -> None:
    """Print the figures."""
    if not shutil.which("iperf3"):
        print("forwarding: iperf3 is not installed")
        return
    inside = [sys.executable, "-m", "bench.forwarding", "inside"]
    os.environ["PYTHONPATH"] = f"{CHECKOUT}/tests:{CHECKOUT}/deploy/lab"
    if not kernel.lacking():
        kernel.run_here(inside)
        return
    with TemporaryDirectory() as folder:
        kernel.run_in_vm(inside, Path(folder), CHECKOUT, VM_SECONDS)


if __name__ == "__main__":
    measure() if sys.argv[1:] == ["inside"] else main()
