"""Which routes an uplink has, by its gateway and what the kernel says of it."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Literal

import pytest

from dmvpn_agent.kernel.routes.tables import DEFAULT, DefaultRoute, Route, Rule
from dmvpn_agent.kernel.uplink.selection import Condition
from dmvpn_agent.kernel.uplink.settings import AUTO, Uplink, UplinkSettings
from dmvpn_agent.kernel.uplink.uplink_tables import lacks_next_hop, uplink_tables

ADDRESS, LEASED, OTHER = IPv4Interface("192.0.2.9/24"), IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
NETWORK = Route(7700, ADDRESS.network, "e0")


def _routes(
    condition: Condition, *defaults: DefaultRoute, gateway: IPv4Address | Literal["auto"] | None = AUTO
) -> set[Route]:
    settings = UplinkSettings(("gre1",), (Uplink("e0", gateway),))
    tables = uplink_tables(settings, {"e0": condition}, defaults)
    address = condition.address
    assert not tables.routes or address
    if address and tables.routes:
        assert tables.rules == {Rule(7700, 7700, source=address.ip), Rule(7700, 7700, interface="e0")}
    assert bool(tables.routes) == bool(tables.rules)
    return set(tables.routes)


def test_the_gateway_of_the_default_route_by_the_interface_counts() -> None:
    """Not that of another interface; of several the one with the lowest metric."""
    up = Condition(ADDRESS, running=True)
    others = DefaultRoute("e1", IPv4Address("198.51.100.1")), DefaultRoute("e0", OTHER, 200)
    assert _routes(up, DefaultRoute("e0", LEASED, 100), *others) == {NETWORK, Route(7700, DEFAULT, "e0", LEASED)}
    assert _routes(up, *others) == {NETWORK, Route(7700, DEFAULT, "e0", OTHER)}


def test_without_a_default_route_there_is_no_table() -> None:
    """A rule that led to a table without a default route would change nothing."""
    up, elsewhere = Condition(ADDRESS, running=True), DefaultRoute("e1", LEASED)
    assert _routes(up, elsewhere) == set()
    assert lacks_next_hop(Uplink("e0", AUTO), up, (elsewhere,))


@pytest.mark.parametrize("defaults", [(), (DefaultRoute("e0", None, 700),)])
def test_a_point_to_point_interface_needs_no_gateway(defaults: tuple[DefaultRoute, ...]) -> None:
    """And its address of 32 bits no route of its own."""
    condition = Condition(IPv4Interface("192.0.2.9/32"), running=True, direct=True)
    assert _routes(condition, *defaults) == {Route(7700, DEFAULT, "e0")}
    assert not lacks_next_hop(Uplink("e0", AUTO), condition, defaults)


@pytest.mark.parametrize("gateway", [AUTO, LEASED])
def test_a_gateway_outside_the_network_has_a_route_of_its_own(gateway: IPv4Address | Literal["auto"]) -> None:
    """The kernel refuses a gateway that it has no route to."""
    condition = Condition(IPv4Interface("198.51.100.9/32"), running=True)
    wanted = {Route(7700, IPv4Network("192.0.2.1/32"), "e0"), Route(7700, DEFAULT, "e0", LEASED)}
    assert _routes(condition, DefaultRoute("e0", LEASED), gateway=gateway) == wanted


@pytest.mark.parametrize("condition", [Condition(), Condition(ADDRESS), Condition(running=True)])
def test_an_uplink_that_cannot_carry_packets_lacks_nothing(condition: Condition) -> None:
    """Absent, without a carrier, without an address: it has no table, and that is no trouble."""
    assert _routes(condition, DefaultRoute("e0", LEASED)) == set()
    assert not lacks_next_hop(Uplink("e0", AUTO), condition, ())


def test_without_a_gateway_in_the_configuration_the_routes_are_the_operators() -> None:
    """As before ``auto``."""
    assert _routes(Condition(ADDRESS, running=True), DefaultRoute("e0", LEASED), gateway=None) == set()
