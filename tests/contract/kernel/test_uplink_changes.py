"""Uplinks whose interface, address and gateway change: PPPoE, WWAN, several DHCP leases, in a real kernel."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, Literal

import pytest

from contract.kernel.kept_uplinks import KeptUplinks, leaves_by, rules
from contract.namespaces import command, in_network_namespace, needs
from contract.tunnel_devices import has_tun, point_to_point
from dmvpn_agent.kernel.routes.tables import Tables
from dmvpn_agent.kernel.uplink.settings import AUTO, Uplink
from fakes.waiting import until

pytestmark = [pytest.mark.contract, needs("ip")]

PPP, WWAN = Uplink("ppp0", AUTO), Uplink("wwan0", AUTO)


def _ip(*commands: str) -> None:
    for words in commands:
        command("ip", *words.split())


@contextmanager
def _ethernet(name: str, address: str, gateway: str, metric: int) -> Iterator[None]:
    """An interface that a DHCP client has set up."""
    _ip(f"link add {name} type veth peer name far-{name}", f"link set far-{name} up", f"link set {name} up",
        f"address add {address} dev {name}",
        f"route add default via {gateway} dev {name} metric {metric} proto dhcp")  # fmt: skip
    yield
    _ip(f"link del {name}")


async def _carried(kept: KeptUplinks, address: str, way: str) -> None:
    """Wait until the tunnel has the address, and packets from it leave that way, by a rule of their own."""
    await until(lambda: kept.local == address and f"from {address} lookup" in rules() and leaves_by(address) == way)


@has_tun
@in_network_namespace
async def test_the_tunnel_follows_a_connection_that_ends_and_begins_anew() -> None:
    """PPPoE: ``ppp0`` is deleted, and made again with another index, address and peer. No rule is left behind."""
    _ip("link set lo up")
    kept = KeptUplinks(PPP)
    async with kept.run():
        with point_to_point("ppp0", "192.0.2.50", "198.51.100.1"):
            await _carried(kept, "192.0.2.50", "dev ppp0")
            first = kept.watch.links["ppp0"].index
        await until(lambda: "192.0.2.50" not in rules() and kept.routes.observed == Tables())
        assert kept.local == "192.0.2.50"  # it stays, because no uplink works
        with point_to_point("ppp0", "192.0.2.60", "198.51.100.2"):
            await _carried(kept, "192.0.2.60", "dev ppp0")
            assert kept.watch.links["ppp0"].index != first
            assert (kept.moves, "192.0.2.50" in rules()) == (2, False)


@has_tun
@in_network_namespace
async def test_a_connection_that_ends_and_begins_between_two_looks_is_followed() -> None:
    """The notifications of both are coalesced; the same address on another interface index counts too."""
    _ip("link set lo up")
    kept = KeptUplinks(PPP)
    async with kept.run():
        with point_to_point("ppp0", "192.0.2.50", "198.51.100.1"):
            await _carried(kept, "192.0.2.50", "dev ppp0")
        with point_to_point("ppp0", "192.0.2.50", "198.51.100.1"):
            await until(lambda: leaves_by("192.0.2.50") == "dev ppp0")
        with point_to_point("ppp0", "192.0.2.51", "198.51.100.1"):
            await _carried(kept, "192.0.2.51", "dev ppp0")


@has_tun
@in_network_namespace
async def test_an_address_that_ipcp_renegotiates_is_followed() -> None:
    """The interface stays."""
    _ip("link set lo up")
    kept = KeptUplinks(PPP)
    async with kept.run():
        with point_to_point("ppp0", "192.0.2.50", "198.51.100.1"):
            await _carried(kept, "192.0.2.50", "dev ppp0")
            _ip("address del 192.0.2.50 peer 198.51.100.1 dev ppp0",
                "address add 192.0.2.61 peer 198.51.100.7 dev ppp0")  # fmt: skip
            await _carried(kept, "192.0.2.61", "dev ppp0")


@has_tun
@in_network_namespace
async def test_an_uplink_that_is_absent_at_the_start_is_used_when_it_comes() -> None:
    """And while it is away the next one is: WWAN behind Ethernet, both preferred in turn."""
    _ip("link set lo up")
    kept = KeptUplinks(WWAN, Uplink("eth0", AUTO))
    with _ethernet("eth0", "192.0.2.9/24", "192.0.2.1", 100):
        async with kept.run():
            await _carried(kept, "192.0.2.9", "via 192.0.2.1 dev eth0")
            with point_to_point("wwan0", "198.51.100.30/30"):
                _ip("route add default dev wwan0 metric 700")
                await _carried(kept, "198.51.100.30", "dev wwan0")
                assert leaves_by("192.0.2.9") == "via 192.0.2.1 dev eth0"
            await _carried(kept, "192.0.2.9", "via 192.0.2.1 dev eth0")
            with point_to_point("wwan0", "198.51.100.34/30"):
                _ip("route add default via 198.51.100.33 dev wwan0 metric 700")
                await _carried(kept, "198.51.100.34", "via 198.51.100.33 dev wwan0")


@has_tun
@in_network_namespace
async def test_a_modem_that_has_a_carrier_before_its_address() -> None:
    """An interface without an address is no uplink yet, and nothing is logged about it."""
    _ip("link set lo up")
    kept = KeptUplinks(WWAN)
    async with kept.run():
        with point_to_point("wwan0"):
            await until(lambda: "wwan0" in kept.watch.links)
            _ip("address add 198.51.100.30/32 dev wwan0")
            await _carried(kept, "198.51.100.30", "dev wwan0")


@in_network_namespace
async def test_each_of_several_leases_has_its_gateway_and_a_change_is_followed(logs: list[dict[str, Any]]) -> None:
    """Packets from either address leave by its own interface and gateway, whatever the metrics say."""
    _ip("link set lo up")
    kept = KeptUplinks(Uplink("eth0", AUTO), Uplink("eth1", AUTO))
    with (
        _ethernet("eth0", "192.0.2.9/24", "192.0.2.1", 100),
        _ethernet("eth1", "198.51.100.9/24", "198.51.100.1", 200),
    ):
        async with kept.run():
            await until(lambda: leaves_by("198.51.100.9") == "via 198.51.100.1 dev eth1")
            assert leaves_by("192.0.2.9") == "via 192.0.2.1 dev eth0"
            _ip("route replace default via 198.51.100.254 dev eth1 metric 200 proto dhcp")
            await until(lambda: leaves_by("198.51.100.9") == "via 198.51.100.254 dev eth1")
            _ip("address flush dev eth1", "address add 203.0.113.130/25 dev eth1",
                "route add default via 203.0.113.129 dev eth1 metric 200")  # fmt: skip
            await until(lambda: "203.0.113.130" in rules())
            assert "default via 203.0.113.129 dev eth1" in command("ip", "route", "show", "table", "7701")
            _ip("route del default dev eth1")
            await until(lambda: "7701" not in rules())
    warned = [entry["interface"] for entry in logs if entry["event"] == "uplink_without_gateway"]
    assert warned[-1:] == ["eth1"]


@in_network_namespace
async def test_the_gateway_of_a_multipath_default_route_counts() -> None:
    """Each of its next hops is the gateway of its interface."""
    _ip("link set lo up")
    kept = KeptUplinks(Uplink("eth0", AUTO), Uplink("eth1", AUTO))
    with (
        _ethernet("eth0", "192.0.2.9/24", "192.0.2.1", 100),
        _ethernet("eth1", "198.51.100.9/24", "198.51.100.1", 200),
    ):
        _ip("route del default dev eth0", "route del default dev eth1",
            "route add default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1")  # fmt: skip
        async with kept.run():
            await until(lambda: leaves_by("198.51.100.9") == "via 198.51.100.1 dev eth1")
            await until(lambda: leaves_by("192.0.2.9") == "via 192.0.2.1 dev eth0")
            await until(lambda: "from 198.51.100.9" in rules() and "from 192.0.2.9" in rules())


@pytest.mark.parametrize("gateway", [AUTO, IPv4Address("172.31.1.1")])
@in_network_namespace
async def test_a_gateway_outside_the_network_of_the_address(gateway: IPv4Address | Literal["auto"]) -> None:
    """As some providers give it, with an address of 32 bits."""
    _ip("link set lo up")
    kept = KeptUplinks(Uplink("eth0", gateway))
    with _ethernet("eth0", "192.0.2.9/24", "192.0.2.1", 100):
        _ip("address add 203.0.113.9/32 dev eth0", "address del 192.0.2.9/24 dev eth0",
            "route add 172.31.1.1 dev eth0", "route add default via 172.31.1.1 dev eth0")  # fmt: skip
        async with kept.run():
            await _carried(kept, "203.0.113.9", "via 172.31.1.1 dev eth0")
            assert "172.31.1.1 dev eth0" in command("ip", "route", "show", "table", "7700")


@has_tun
@in_network_namespace
async def test_an_agent_that_starts_anew_finds_what_the_former_one_left() -> None:
    """The address changed while no agent ran: no rule of the old one stays, and what is right is not touched."""
    _ip("link set lo up")
    with point_to_point("ppp0", "192.0.2.50", "198.51.100.1"):
        before = KeptUplinks(PPP)
        async with before.run():
            await _carried(before, "192.0.2.50", "dev ppp0")
        again = KeptUplinks(PPP)
        async with again.run():
            await _carried(again, "192.0.2.50", "dev ppp0")
            await again.routes.check()
            assert "192.0.2.50" in rules()
    with point_to_point("ppp0", "192.0.2.70", "198.51.100.1"):
        after = KeptUplinks(PPP)
        async with after.run():
            await _carried(after, "192.0.2.70", "dev ppp0")
            await until(lambda: "192.0.2.50" not in rules())


@has_tun
@in_network_namespace
async def test_routes_and_rules_that_somebody_flushes_are_back() -> None:
    """Also the address of the tunnel's uplink and its gateway, as a network manager that restarts does."""
    _ip("link set lo up")
    kept = KeptUplinks(Uplink("eth0", IPv4Address("192.0.2.1")), PPP)
    with (
        _ethernet("eth0", "192.0.2.9/24", "192.0.2.1", 100),
        point_to_point("ppp0", "198.51.100.30", "198.51.100.1"),
    ):
        async with kept.run():
            for _ in range(3):
                await _carried(kept, "192.0.2.9", "via 192.0.2.1 dev eth0")
                await until(lambda: leaves_by("198.51.100.30") == "dev ppp0")
                _ip("rule flush", "rule add lookup main priority 32766", "route flush table 7700",
                    "route flush table 7701")  # fmt: skip
            _ip("address flush dev eth0", "address add 192.0.2.9/24 dev eth0",
                "route add default via 192.0.2.1 dev eth0 metric 100")  # fmt: skip
            await _carried(kept, "192.0.2.9", "via 192.0.2.1 dev eth0")
