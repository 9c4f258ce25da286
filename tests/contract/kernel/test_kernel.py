"""Tunnel interfaces, addresses and nhrpd's entries in a real kernel, by netlink."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel import metrics, netlink
from dmvpn_agent.kernel.events import (
    RTPROT_NHRP,
    AddressEvent,
    KernelEvent,
    LinkEvent,
    NeighbourEvent,
    Resync,
    RouteEvent,
    RuleEvent,
)
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("ip")]


class Watched:
    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.events: list[KernelEvent] = []
        self.watch = KernelWatch(("gre1", "gre2"), self.telemetry)
        kinds = (LinkEvent, AddressEvent, RouteEvent, NeighbourEvent, RuleEvent)
        self.watch.subscribe(self.events.append, *kinds)

    def resyncs(self, cause: str) -> float:
        return self.telemetry.value(metrics.KERNEL_RESYNCS, cause)

    def of(self, kind: type[KernelEvent]) -> list[KernelEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running(self.watch.run()):
            await until(lambda: self.events)
            yield


@in_network_namespace
async def test_every_state_of_the_tunnel_interface_is_notified() -> None:
    """Absent, down, up, down, absent."""
    watched = Watched()
    async with watched.running():
        assert watched.watch.up["gre1"] is None
        command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")
        await until(lambda: watched.watch.up["gre1"] is False)
        for word, state in (("up", True), ("down", False), ("up", True)):
            seen = len(watched.of(LinkEvent))
            command("ip", "link", "set", "gre1", word)
            await until(lambda: watched.watch.up["gre1"] is state)  # noqa: B023  awaited within the loop
            assert len(watched.of(LinkEvent)) > seen
        command("ip", "link", "delete", "gre1")
        await until(lambda: watched.watch.up["gre1"] is None)


@in_network_namespace
async def test_several_tunnels_have_separate_states() -> None:
    """Also if they change names."""
    watched = Watched()
    async with watched.running():
        command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "gre2")
        command("ip", "link", "set", "gre2", "up")
        await until(lambda: watched.watch.up == {"gre1": False, "gre2": True})
        command("ip", "link", "set", "gre1", "name", "gre9")
        await until(lambda: watched.watch.up == {"gre1": None, "gre2": True})
        command("ip", "link", "set", "gre2", "down")  # Linux 6.1 renames no interface that is up
        command("ip", "link", "set", "gre2", "name", "gre1")
        await until(lambda: watched.watch.up == {"gre1": False, "gre2": None})


@in_network_namespace
async def test_an_existing_interface_is_seen() -> None:
    """The watch reads the state first, not only changes."""
    command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")
    command("ip", "link", "set", "gre1", "up")
    watched = Watched()
    async with watched.running():
        assert watched.watch.up["gre1"] is True


@in_network_namespace
async def test_a_renamed_interface_is_another_one() -> None:
    """It is no longer the tunnel."""
    command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")
    watched = Watched()
    async with watched.running():
        command("ip", "link", "set", "gre1", "name", "gre9")
        await until(lambda: watched.watch.up["gre1"] is None)
        command("ip", "link", "set", "gre9", "name", "gre1")
        await until(lambda: watched.watch.up["gre1"] is False)


def _tunnel() -> None:
    command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")
    command("ip", "link", "set", "gre1", "up")
    command("ip", "address", "add", "10.255.0.1/24", "dev", "gre1")


@in_network_namespace
async def test_nhrpds_neighbour_entries_on_tunnels_are_notified() -> None:
    """Those with protocol 191: bindings and shortcuts. Other entries, and those of other interfaces, are not."""
    _tunnel()
    command("ip", "link", "set", "other", "up")
    watched = Watched()
    async with watched.running():
        address = ip_address("10.255.0.9")
        link = ("lladdr", "02:00:00:00:00:09")
        command("ip", "neighbour", "add", "10.255.0.7", *link, "dev", "other", "protocol", "191")
        command("ip", "neighbour", "add", "10.255.0.8", *link, "dev", "gre1")
        command("ip", "neighbour", "add", str(address), *link, "dev", "gre1", "protocol", "191")
        await until(lambda: watched.of(NeighbourEvent) == [NeighbourEvent("gre1", address, present=True)])
        command("ip", "neighbour", "delete", str(address), "dev", "gre1")
        await until(lambda: NeighbourEvent("gre1", address, present=False) in watched.of(NeighbourEvent))


@in_network_namespace
async def test_routes_are_notified_with_their_protocol() -> None:
    """Not those of routing daemons, which can be a million, except default routes."""
    _tunnel()
    watched = Watched()
    async with watched.running():
        command("ip", "route", "add", "10.8.0.0/24", "dev", "gre1", "protocol", "186")
        command("ip", "route", "add", "10.9.0.0/24", "dev", "gre1", "protocol", "191")
        command("ip", "route", "add", "default", "via", "10.255.0.8", "protocol", "186", "table", "1000")
        command("ip", "route", "delete", "10.9.0.0/24", "dev", "gre1", "protocol", "191")
        nhrps = RouteEvent(ip_network("10.9.0.0/24"), 254, RTPROT_NHRP, "gre1", None, present=True)
        gateway = ip_address("10.255.0.8")
        default = RouteEvent(ip_network("0.0.0.0/0"), 1000, 186, "gre1", gateway, present=True)
        await until(lambda: watched.of(RouteEvent) == [nhrps, default, replace(nhrps, present=False)])


@in_network_namespace
async def test_rules_are_notified() -> None:
    """Of both IP versions."""
    watched = Watched()
    async with watched.running():
        command("ip", "rule", "add", "priority", "77", "table", "300")
        command("ip", "-6", "rule", "add", "priority", "78", "table", "5")
        command("ip", "rule", "delete", "priority", "77")
        expected = [RuleEvent(4, 77, 300, present=True), RuleEvent(6, 78, 5, present=True)]
        await until(lambda: watched.of(RuleEvent) == [*expected, RuleEvent(4, 77, 300, present=False)])


@in_network_namespace
async def test_a_bridge_port_that_leaves_is_not_gone() -> None:
    """The kernel sends RTM_DELLINK of the family AF_BRIDGE for it."""
    _tunnel()
    command("ip", "link", "add", "bridge", "type", "bridge")
    command("ip", "link", "set", "gre1", "master", "bridge")
    watched = Watched()
    async with watched.running():
        command("ip", "link", "set", "gre1", "nomaster")
        await until(lambda: watched.watch.links["gre1"].master == 0)
        command("ip", "link", "add", "last", "type", "veth", "peer", "name", "end")
        await until(lambda: "last" in watched.watch.links)
        assert watched.watch.up["gre1"] is True


@in_network_namespace
async def test_everything_is_read_again_after_an_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel discards notifications that do not fit into the socket, and reports ENOBUFS."""
    monkeypatch.setattr(netlink, "RECEIVE_BUFFER", 4096)
    _tunnel()
    watched = Watched()
    async with watched.running():
        lines = "".join(f"route add 10.{n}.{m}.0/24 dev gre1\n" for n in range(20) for m in range(200))
        command("ip", "-batch", "-", stdin=f"{lines}link set gre1 down\naddress flush dev gre1\n")  # blocks this loop
        await until(lambda: watched.resyncs("overrun"))
        await until(lambda: watched.watch.up["gre1"] is False and not watched.watch.addresses)
        assert Resync("overrun") in watched.events
        command("ip", "address", "add", "10.255.0.2/32", "dev", "gre1")
        await until(lambda: watched.watch.addresses == {ip_address("10.255.0.2")})


@in_network_namespace
async def test_the_tunnels_addresses_are_known() -> None:
    """Existing and new ones, of both IP versions, of no other interface."""
    command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")
    command("ip", "addr", "add", "10.255.0.1/24", "dev", "gre1")
    command("ip", "addr", "add", "10.9.0.1/24", "dev", "other")
    watched = Watched()
    async with watched.running():
        await until(lambda: watched.watch.addresses == {ip_address("10.255.0.1")})
        command("ip", "addr", "add", "2001:db8::1/64", "dev", "gre1")
        await until(lambda: ip_address("2001:db8::1") in watched.watch.addresses)
        command("ip", "addr", "add", "10.254.0.1", "peer", "10.254.0.2", "dev", "gre1")
        await until(lambda: ip_address("10.254.0.1") in watched.watch.addresses)
        assert ip_address("10.254.0.2") not in watched.watch.addresses
        command("ip", "addr", "del", "10.255.0.1/24", "dev", "gre1")
        await until(lambda: ip_address("10.255.0.1") not in watched.watch.addresses)
