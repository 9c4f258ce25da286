"""Tunnel interfaces, addresses and nhrpd's entries in a real kernel, by netlink."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until

pytestmark = [pytest.mark.contract, needs("ip")]


class Watched:
    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.changes = 0
        self.watch = KernelWatch(("gre1", "gre2"), self.telemetry, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def events(self, kind: str) -> float:
        return self.telemetry.value(metrics.KERNEL_EVENTS, kind)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running(self.watch.run()):
            await until(lambda: self.changes)
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
            changes = watched.changes
            command("ip", "link", "set", "gre1", word)
            await until(lambda: watched.watch.up["gre1"] is state)  # noqa: B023  awaited within the loop
            assert watched.changes > changes
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
        command("ip", "link", "set", "gre2", "down", "name", "gre1")
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


@in_network_namespace
async def test_only_nhrpds_routes_and_neighbour_entries_are_notified() -> None:
    """Those with protocol 191: bindings that came or went."""
    command("ip", "link", "add", "gre1", "type", "veth", "peer", "name", "other")
    command("ip", "link", "set", "gre1", "up")
    command("ip", "address", "add", "10.255.0.1/24", "dev", "gre1")
    watched = Watched()
    async with watched.running():
        command("ip", "neighbour", "add", "10.255.0.8", "lladdr", "02:00:00:00:00:08", "dev", "gre1")
        command("ip", "route", "add", "10.8.0.0/24", "dev", "gre1")
        changes = watched.changes
        neighbour = ("10.255.0.9", "lladdr", "02:00:00:00:00:09", "dev", "gre1", "protocol", "191")
        command("ip", "neighbour", "add", *neighbour)
        await until(lambda: watched.events("neighbour") == 1)
        assert watched.changes > changes
        command("ip", "route", "add", "10.9.0.0/24", "dev", "gre1", "protocol", "191")
        await until(lambda: watched.events("route") == 1)
        command("ip", "route", "delete", "10.9.0.0/24", "dev", "gre1", "protocol", "191")
        await until(lambda: watched.events("route") == 2)
        command("ip", "neighbour", "delete", "10.255.0.9", "dev", "gre1")
        await until(lambda: watched.events("neighbour") >= 2)


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
