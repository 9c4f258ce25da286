"""What the redirect rule logs to nhrpd: the same by nftables and by each iptables, in both IP versions."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from contract.kernel.firewalls import VARIANTS, choose
from contract.kernel.nflog import Logged, NflogGroup
from contract.kernel.packets import frame_ipv4, frame_ipv6
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel.iptables import chain
from dmvpn_agent.kernel.iptables.program import Iptables
from dmvpn_agent.kernel.iptables.reconciler import ChainReconciler
from dmvpn_agent.kernel.iptables.settings import ChainSettings
from dmvpn_agent.kernel.nftables import redirect_rule
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import COUNTER, RedirectRule
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

GROUP, OTHER_MAC = 7, bytes.fromhex("020000000002")
#: One packet of a pair at once, and then one a second.
RULE = RedirectRule(("gre1", "gre2"), GROUP, 24, 24, rate_per_minute=60, burst=1)

#: A router whose tunnels are veth pairs: packets sent into the other end arrive through the tunnel.
ROUTER = """
for n in 1 2; do
  ip link add gre$n address 02:00:00:00:00:01 type veth peer name other$n
  ip link set gre$n up && ip link set other$n up
done
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
for n in 1 2; do echo 0 > /proc/sys/net/ipv4/conf/gre$n/rp_filter; done
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
ip address add 10.255.0.1/32 dev gre1
for n in 1 2; do
  ip route add 10.$n.0.0/16 via 10.25$n.0.9 dev gre$n onlink
  ip neigh add 10.25$n.0.9 lladdr 02:00:00:00:00:02 dev gre$n
  ip -6 route add 2001:db8:$n::/48 via fe80::9 dev gre$n onlink
  ip neigh add fe80::9 lladdr 02:00:00:00:00:02 dev gre$n
done
"""

pytestmark = [
    pytest.mark.contract,
    pytest.mark.parametrize("firewall", [pytest.param(name, marks=needs(name)) for name in ("nft", *VARIANTS)]),
    pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"]),
]


@asynccontextmanager
async def _kept(
    firewall: str, directory: Path, monkeypatch: pytest.MonkeyPatch, rule: RedirectRule = RULE
) -> AsyncIterator[TableReconciler | ChainReconciler]:
    """A router with the rule kept."""
    command("sh", "-c", ROUTER)
    keeper: TableReconciler | ChainReconciler
    if firewall == "nft":
        keeper = TableReconciler(TableSettings((), rule), tuple, Nftables(), Telemetry())
    else:
        choose(firewall, directory, monkeypatch)
        keeper = ChainReconciler(ChainSettings(rule), Iptables(), Telemetry())
    async with running(keeper.run()):
        await until(lambda: keeper.installed)
        yield keeper


class Wire:
    """The other end of a tunnel."""

    def __init__(self, version: int, number: int = 1) -> None:
        self._version = version
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((f"other{number}", 0))

    def send(self, source: str, destination: str) -> None:
        """Send a packet; addresses are ``net.host`` in the networks of the tunnels, as ``1.7.9`` for 10.1.7.9."""
        frame = frame_ipv4 if self._version == 4 else frame_ipv6
        self._socket.send(frame(address(self._version, source), address(self._version, destination), OTHER_MAC))


def address(version: int, short: str) -> str:
    """Return ``1.7.9`` as 10.1.7.9 or 2001:db8:1:7::9."""
    tunnel, network, host = short.split(".")
    return f"10.{short}" if version == 4 else f"2001:db8:{tunnel}:{network}::{host}"


@in_network_namespace
async def test_a_peer_that_makes_up_pairs_keeps_no_other_one_from_its_shortcut(
    firewall: str, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor from being forwarded: with too many pairs in iptables the kernel would drop the packets of further ones."""
    monkeypatch.setattr(redirect_rule, "MAX_PAIRS", 64)
    monkeypatch.setattr(chain, "MAX_PAIRS", 12_000)
    async with _kept(firewall, tmp_path, monkeypatch, replace(RULE, rate_per_minute=4)):
        wire = Wire(version)
        for number in range(200 if firewall == "nft" else 14_000):
            wire.send(f"1.{number % 200}.1", f"1.{number // 200}.1")
        with NflogGroup(GROUP) as group:
            logged: list[Logged] = []
            async with asyncio.timeout(10):
                while not any(ip_address(one.source) == _ip(version, "1.250.1") for one in logged):
                    wire.send("1.250.1", "1.251.1")
                    await asyncio.sleep(0.01)
                    logged += group.read()


def _ip(version: int, short: str) -> IPv4Address | IPv6Address:
    return ip_address(address(version, short))


async def _logged(group: NflogGroup, at_least: int) -> list[Logged]:
    """Return what is logged, when there is enough of it."""
    logged = group.read()
    while len(logged) < at_least:
        await asyncio.sleep(0.01)
        logged += group.read()
    return logged


def _sources(logged: list[Logged]) -> Counter[str]:
    return Counter(str(ip_address(one.source)) for one in logged)


@in_network_namespace
async def test_each_pair_of_networks_is_logged_once_at_first(
    firewall: str, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 packets between other hosts of the same networks, none; between other networks, one of each pair."""
    async with _kept(firewall, tmp_path, monkeypatch) as keeper:
        with NflogGroup(GROUP) as group:
            wire = Wire(version)
            for network in range(10, 60):
                for host in range(1, 21):
                    wire.send(f"1.{network}.{host}", f"1.200.{host}")
            logged = await _logged(group, 50)
            assert _sources(logged) == {address(version, f"1.{network}.1"): 1 for network in range(10, 60)}
        keeper.trigger()
        counted = keeper.total if isinstance(keeper, ChainReconciler) else keeper.totals.total
        await until(lambda: counted(COUNTER).packets == 50)


@in_network_namespace
async def test_the_next_packet_of_a_pair_is_logged_when_its_time_has_come(
    firewall: str, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 60 a minute never sooner than a second after the one before, however many packets there are."""
    async with _kept(firewall, tmp_path, monkeypatch):
        with NflogGroup(GROUP) as group:
            wire, logged = Wire(version), 0
            began = time.monotonic()
            while logged < 3:
                wire.send("1.10.1", "1.200.1")
                logged += len(group.read())
                await asyncio.sleep(0.01)
            assert time.monotonic() - began > 1.98  # a busy machine makes it longer, never shorter


@in_network_namespace
async def test_only_what_leaves_by_the_tunnel_it_came_from_is_logged(
    firewall: str, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two DMVPNs there is no shortcut. nhrpd learns by which tunnel the packet leaves."""
    async with _kept(firewall, tmp_path, monkeypatch):
        with NflogGroup(GROUP) as group:
            first, second = Wire(version, 1), Wire(version, 2)
            first.send("1.10.1", "2.20.1")
            second.send("2.20.1", "1.10.1")
            first.send("1.11.1", "1.12.1")
            second.send("2.21.1", "2.22.1")
            logged = await _logged(group, 2)
            assert _sources(logged) == {address(version, "1.11.1"): 1, address(version, "2.21.1"): 1}
            assert [one.out for one in logged] == [socket.if_nametoindex("gre1"), socket.if_nametoindex("gre2")]
