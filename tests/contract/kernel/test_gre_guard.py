"""The GRE guard in a real kernel, by the real nft.

This kernel may have no GRE and no ESP: packets are made by hand, and the tunnels are values. That packets of IPsec
pass is shown by the lab's scenario ``spoofing``, in which the guard enforces.
"""

import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from contract.kernel.packets import ROUTER_MAC
from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.bridge.gre_packet import send_acquire_packet
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.events import IFF_UP, LinkEvent, Resync
from dmvpn_agent.kernel.nftables.firewall import FirewallError
from dmvpn_agent.kernel.nftables.gauges import observe_table
from dmvpn_agent.kernel.nftables.gre_guard import COUNTERS, GreGuard
from dmvpn_agent.kernel.nftables.guard_watch import GuardWatch
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.section import Section
from dmvpn_agent.kernel.nftables.settings import TableSettings
from dmvpn_agent.kernel.nftables.source_filter import FilterMode
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("nft")]

LOCAL, PEER, STRANGER, OPERATORS = "192.0.2.1", "192.0.2.2", "192.0.2.77", "192.0.2.66"
IPV4, IPV6, NHRP, ETHERNET = 0x0800, 0x86DD, 0x2001, 0x6558
CHECKSUM, KEY, SEQUENCE = 0x8000, 0x2000, 0x1000
#: What an unguarded node receives and sends is counted behind the agent's chains.
NODE = """
ip link add up0 address 02:00:00:00:00:01 type veth peer name other-up0
ip link set up0 up; ip link set other-up0 up; ip link set lo up
ip address add 192.0.2.1/24 dev up0
ip address add 192.0.2.5/24 dev up0
for host in 2 77 66; do ip neigh add 192.0.2.$host lladdr 02:00:00:00:00:09 dev up0; done
nft -f - <<END
table inet test {
  counter received { }
  counter sent { }
  counter esp_and_ike { }
  chain input {
    type filter hook input priority 20;
    meta nfproto ipv4 meta l4proto gre counter name received
    meta l4proto { esp, udp } counter name esp_and_ike
  }
  chain output {
    type filter hook output priority 20;
    meta nfproto ipv4 meta l4proto gre counter name sent
  }
}
END
"""
TUNNEL = LinkEvent(3, "gre1", present=True, kind="gre", flags=IFF_UP, local=ip_address(LOCAL), keys=(42, 42))


def _links(*others: LinkEvent, tunnel: LinkEvent = TUNNEL) -> dict[str, LinkEvent]:
    return {link.name: link for link in (tunnel, *others)}


def _gre(payload: int = IPV4, key: int | None = 42, flags: int = 0, version: int = 0) -> bytes:
    """Return a GRE header with an empty packet."""
    flags |= (KEY if key is not None else 0) | version
    header = struct.pack("!HH", flags, payload)
    header += bytes(4) if flags & CHECKSUM else b""
    header += struct.pack("!I", key) if key is not None else b""
    return header + (bytes(4) if flags & SEQUENCE else b"") + bytes(20)


def _ip(source: str, destination: str, payload: bytes, protocol: int = 47, fragment: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, 64, protocol, 0)
    header += ip_address(source).packed + ip_address(destination).packed
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", 0xFFFF - total) + header[12:] + payload


def _receive(*packets: bytes) -> None:
    """Have the node receive packets from its uplink."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("other-up0", 0))
        for packet in packets:
            wire.send(ROUTER_MAC + bytes.fromhex("020000000009 0800") + packet)


def _send(destination: str, payload: bytes, source: str = LOCAL) -> bool:
    """Have the node send a packet, as the GRE module or a raw socket does; return whether it may."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        try:
            raw.sendto(_ip(source, destination, payload), (destination, 0))
        except PermissionError:  # a dropped packet
            return False
    return True


def _packets(counter: str, table: str = "test") -> int:
    shown = json.loads(command("nft", "-j", "list", "counter", "inet", table, counter))
    return int(shown["nftables"][-1]["counter"]["packets"])


class _Guarded:
    """A node with a running guard, whose GRE interfaces a test may change."""

    def __init__(self, mode: FilterMode, links: dict[str, LinkEvent], firewall: Nftables | None = None) -> None:
        self.telemetry = Telemetry()
        self.settings = TableSettings(("gre1",), RedirectRule(("gre1",), 1, 24, 24, 4, 1), guard=GreGuard(mode))
        self.links = links
        firewall = firewall or Nftables()
        self.table = TableReconciler(self.settings, lambda: (), firewall, self.telemetry)
        self.watch = GuardWatch(self.settings, self.links, self.table, firewall)
        observe_table(self.telemetry, self.table)

    def changed(self) -> None:
        self.watch.kernel_changed(Resync("start"))

    @property
    def counts(self) -> tuple[int, int]:
        """What the guard has counted: received and sent."""
        return _packets(COUNTERS["received"], "dmvpn_agent"), _packets(COUNTERS["sent"], "dmvpn_agent")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["_Guarded"]:
        command("sh", "-c", NODE)
        self.changed()
        async with (
            running(NftablesNotifications(self.table.table_changed).run()),
            running(self.watch.run()),
        ):
            await until(lambda: self.table.in_force is not None)
            yield self


#: From an unknown address, from a peer's with an SA, and from one without; what the packet carries does not matter.
CLEAR = [
    _ip(source, LOCAL, _gre(payload, flags=flags))
    for source in (STRANGER, PEER)
    for payload in (IPV4, IPV6, NHRP)
    for flags in (0, SEQUENCE, CHECKSUM, CHECKSUM | SEQUENCE)
]


@pytest.mark.parametrize(("mode", "passing"), [(FilterMode.COUNT, len(CLEAR)), (FilterMode.ENFORCE, 0)])
@in_network_namespace
async def test_clear_gre_with_a_tunnels_key_is_not_received(mode: FilterMode, passing: int) -> None:
    """Whoever sends it, with any of the flags that the kernel's GRE accepts, IPv4, IPv6 or NHRP inside."""
    async with _Guarded(mode, _links()).running() as guarded:
        _receive(*CLEAR)
        await until(lambda: guarded.counts[0] == len(CLEAR))
        assert _packets("received") == passing
        assert guarded.counts[1] == 0


@pytest.mark.parametrize("mode", [FilterMode.COUNT, FilterMode.ENFORCE])
@in_network_namespace
async def test_clear_gre_with_a_tunnels_key_is_not_sent(mode: FilterMode) -> None:
    """To a peer without an SA as to anybody."""
    async with _Guarded(mode, _links()).running() as guarded:
        sent = [_send(host, _gre(payload)) for host in (PEER, STRANGER) for payload in (IPV4, IPV6, NHRP)]
        assert sent == [mode is FilterMode.COUNT] * 6
        await until(lambda: guarded.counts == (0, 6))
        assert _packets("sent") == (6 if mode is FilterMode.COUNT else 0)


@in_network_namespace
async def test_fragments_do_not_pass() -> None:
    """The kernel has put them together before the guard sees them."""
    async with _Guarded(FilterMode.ENFORCE, _links()).running() as guarded:
        payload = _gre() + bytes(12)
        _receive(_ip(STRANGER, LOCAL, payload[:8], fragment=0x2000), _ip(STRANGER, LOCAL, payload[8:], fragment=1))
        await until(lambda: guarded.counts == (1, 0))
        assert _packets("received") == 0


#: Other GRE interfaces of the operator's, and what they receive and send: far end, near end, packet.
OTHERS = [
    (LinkEvent(5, "gre7", present=True, kind="gre", flags=IFF_UP, keys=(7, 7)), OPERATORS, LOCAL, _gre(key=7)),
    (LinkEvent(5, "gre7", present=True, kind="gre", flags=IFF_UP), OPERATORS, LOCAL, _gre(key=None)),
    (LinkEvent(5, "gre7", present=True, kind="gre", flags=IFF_UP, remote=ip_address(OPERATORS), keys=(42, 42)),
     OPERATORS, LOCAL, _gre()),
    (LinkEvent(5, "gre7", present=True, kind="gre", flags=IFF_UP, local=ip_address("192.0.2.5"), keys=(42, 42)),
     OPERATORS, "192.0.2.5", _gre()),
    (LinkEvent(5, "tap7", present=True, kind="gretap", keys=(42, 42)), OPERATORS, LOCAL, _gre(ETHERNET)),
    (LinkEvent(5, "erspan7", present=True, kind="erspan", keys=(42, 42)), OPERATORS, LOCAL, _gre(0x88BE)),
    (LinkEvent(5, "erspan8", present=True, kind="erspan", keys=(42, 42)), OPERATORS, LOCAL, _gre(0x22EB)),
    (LinkEvent(5, "ppp0", present=True, kind=""), OPERATORS, LOCAL, _gre(0x880B, 42, SEQUENCE, version=1)),
]  # fmt: skip


@pytest.mark.parametrize(("other", "far", "near", "packet"), OTHERS)
@in_network_namespace
async def test_other_gre_of_the_operator_is_not_touched(other: LinkEvent, far: str, near: str, packet: bytes) -> None:
    """Another key, another version, another type of interface, or an interface of its own for that peer."""
    async with _Guarded(FilterMode.ENFORCE, _links(other)).running() as guarded:
        _receive(_ip(far, near, packet))
        await until(lambda: _packets("received") == 1)
        assert _send(far, packet, near)
        assert _packets("sent") == 1
        _receive(_ip(STRANGER, LOCAL, _gre()))
        await until(lambda: guarded.counts == (1, 0))
        assert _packets("received") == 1


@in_network_namespace
async def test_gre_on_the_interface_of_another_tunnel_is_not_touched() -> None:
    """Two multipoint interfaces with one key, each bound to its uplink."""
    uplink, second = (LinkEvent(index, name, present=True) for index, name in ((2, "up0"), (9, "up1")))
    other = LinkEvent(5, "gre7", present=True, kind="gre", flags=IFF_UP, underlay=2, keys=(42, 42))
    bound = replace(TUNNEL, local=None, underlay=9)
    async with _Guarded(FilterMode.ENFORCE, _links(other, uplink, second, tunnel=bound)).running() as guarded:
        _receive(_ip(STRANGER, LOCAL, _gre()))
        await until(lambda: _packets("received") == 1)
        assert _send(STRANGER, _gre())
        assert guarded.counts == (0, 0)


@in_network_namespace
async def test_an_interface_that_is_down_has_no_packets() -> None:
    """The kernel gives them to the tunnel, which has the same key (``ip_tunnel_lookup``)."""
    other = LinkEvent(5, "gre7", present=True, kind="gre", remote=ip_address(OPERATORS), keys=(42, 42))
    async with _Guarded(FilterMode.ENFORCE, _links(other)).running() as guarded:
        _receive(_ip(OPERATORS, LOCAL, _gre()))
        await until(lambda: guarded.counts == (1, 0))
        assert _packets("received") == 0


@in_network_namespace
async def test_ipsec_and_ike_pass() -> None:
    """ESP, and UDP on the ports of IKE and NAT-T."""
    async with _Guarded(FilterMode.ENFORCE, _links()).running() as guarded:
        udp = [struct.pack("!HHHH", port, port, 12, 0) + bytes(4) for port in (500, 4500)]
        _receive(*(_ip(PEER, LOCAL, packet, 17) for packet in udp), _ip(PEER, LOCAL, bytes(16), 50))
        await until(lambda: _packets("esp_and_ike") == 3)
        assert guarded.counts == (0, 0)


TRAP = ("ip", "xfrm", "policy", "add", "src", LOCAL, "dst", "0.0.0.0/0", "proto", "gre", "dir", "out",
        "tmpl", "src", LOCAL, "dst", "0.0.0.0", "proto", "esp", "reqid", "1", "mode", "transport")  # fmt: skip


@in_network_namespace
async def test_a_packet_that_waits_for_an_sa_is_not_clear() -> None:
    """charon's trap policy has it start an SA, as the bridge does by such packets: they meet no error."""
    async with _Guarded(FilterMode.ENFORCE, _links(tunnel=replace(TUNNEL, keys=(None, None)))).running() as guarded:
        command(*TRAP)
        send_acquire_packet(ip_address(LOCAL), ip_address(PEER))
        waiting = ("XfrmOutNoStates", "1")
        assert waiting in [tuple(line.split()) for line in command("cat", "/proc/net/xfrm_stat").splitlines()]
        assert guarded.counts == (0, 0)


@in_network_namespace
async def test_a_tunnel_without_a_key_is_guarded() -> None:
    """GRE with a key is another tunnel's then."""
    async with _Guarded(FilterMode.ENFORCE, _links(tunnel=replace(TUNNEL, keys=(None, None)))).running() as guarded:
        _receive(_ip(STRANGER, LOCAL, _gre(key=None)), _ip(STRANGER, LOCAL, _gre(key=7)))
        await until(lambda: _packets("received") == 1)
        assert guarded.counts == (1, 0)


def _in_force(guarded: _Guarded, key: int) -> bool:
    now = guarded.table.in_force
    return bool(now and now.guard and key in now.guard.keys)


@in_network_namespace
async def test_the_guard_follows_the_interfaces() -> None:
    """A tunnel that is made, and made again with another key; one that goes leaves nothing of its own."""
    async with _Guarded(FilterMode.ENFORCE, {}).running() as guarded:
        _receive(_ip(STRANGER, LOCAL, _gre()))
        await until(lambda: _packets("received") == 1)
        for key in (42, 43):
            guarded.links["gre1"] = replace(TUNNEL, keys=(key, key))
            guarded.changed()
            await until(lambda: _in_force(guarded, key))  # noqa: B023
            before = guarded.counts[0]
            _receive(_ip(STRANGER, LOCAL, _gre(key=key)))
            await until(lambda: guarded.counts[0] == before + 1)  # noqa: B023
        assert _packets("received") == 1


@in_network_namespace
async def test_a_configured_key_is_guarded_before_the_interface_exists() -> None:
    """So that it is never without its guard."""
    guarded = _Guarded(FilterMode.ENFORCE, {})
    guarded.watch.reload(replace(guarded.settings, guard=GreGuard(FilterMode.ENFORCE, frozenset({42}))))
    async with guarded.running():
        _receive(_ip(STRANGER, LOCAL, _gre()))
        await until(lambda: guarded.counts == (1, 0))


@in_network_namespace
async def test_a_restart_takes_the_guard_away_at_no_moment() -> None:
    """The second agent writes nothing before it knows the interfaces."""
    async with _Guarded(FilterMode.ENFORCE, _links()).running() as guarded:
        pass
    table = TableReconciler(guarded.settings, lambda: (), Nftables(), Telemetry())
    again = GuardWatch(guarded.settings, _links(), table, Nftables())
    async with running(again.run()):
        _receive(_ip(STRANGER, LOCAL, _gre()))
        await until(lambda: guarded.counts == (1, 0))
        assert table.shown is None
        again.kernel_changed(Resync("start"))
        await until(lambda: table.installed)
        _receive(_ip(STRANGER, LOCAL, _gre()))
        await until(lambda: guarded.counts[0] > 0)
        assert _packets("received") == 0


@in_network_namespace
async def test_the_counters_are_metrics_that_never_fall() -> None:
    """By direction, also after another program has flushed the table."""
    async with _Guarded(FilterMode.ENFORCE, _links()).running() as guarded:
        _receive(_ip(STRANGER, LOCAL, _gre()))
        await until(lambda: guarded.counts[0] == 1)
        _send(PEER, _gre())
        guarded.table.trigger()
        both = {("received",): 1, ("sent",): 1}
        await until(lambda: guarded.telemetry.samples(metrics.CLEAR_GRE) == both)
        command("nft", "flush", "ruleset")
        await until(lambda: guarded.telemetry.value(metrics.NFTABLES_WRITES, "missing") == 1)
        await until(lambda: guarded.table.in_force is not None)
        assert guarded.telemetry.samples(metrics.CLEAR_GRE) == both
        assert guarded.telemetry.samples(metrics.GRE_GUARD)["enforce",] == 1


class _WithoutIpsec(Nftables):
    """A kernel that does not know ``meta ipsec``."""

    async def refusal(self, section: Section) -> str:
        refused = "Error: Could not process rule: Operation not supported"
        return refused if "ipsec" in section.body else await super().refusal(section)

    async def install(self, sections: tuple[Section, ...]) -> None:
        if any("ipsec" in section.body for section in sections):
            raise FirewallError("Operation not supported")
        await super().install(sections)


@in_network_namespace
async def test_on_a_kernel_without_ipsec_expressions_the_rest_of_the_table_works() -> None:
    """The guard is not in force, and the reason is known."""
    guarded = _Guarded(FilterMode.ENFORCE, _links(), _WithoutIpsec())
    async with guarded.running():
        assert "not supported" in guarded.watch.refusal
        assert guarded.telemetry.value(metrics.NFTABLES_FAILURES) == 0
        assert guarded.telemetry.samples(metrics.GRE_GUARD)["off",] == 1
        assert "redirected" in command("nft", "list", "table", "inet", "dmvpn_agent")


@in_network_namespace
async def test_the_real_kernel_is_asked() -> None:
    """It takes the guard, and refuses what it does not know; neither changes anything."""
    guard = GreGuard(FilterMode.ENFORCE, frozenset({42, None})).section()
    assert await Nftables().refusal(guard) == ""
    assert "nowhere" in await Nftables().refusal(replace(guard, body="  chain x {\n    jump nowhere\n  }\n"))
    assert "dmvpn_agent" not in command("nft", "list", "ruleset")
