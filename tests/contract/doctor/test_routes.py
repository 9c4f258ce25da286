"""The doctor's questions to a real kernel about the routes of NBMA addresses."""

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from contract.namespaces import command, in_network_namespace, needs
from dmvpn_agent.doctor.inspect_routes import read_nbma_routes, read_rp_filters
from dmvpn_agent.doctor.node import LinkView, NbmaRoute
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables
from dmvpn_agent.kernel.routes.reconciler import RouteReconciler
from dmvpn_agent.kernel.uplink.selection import Condition
from dmvpn_agent.kernel.uplink.settings import Target, Uplink, UplinkSettings
from dmvpn_agent.kernel.uplink.uplink_tables import uplink_tables
from dmvpn_agent.runtime.telemetry import Telemetry

pytestmark = [pytest.mark.contract, needs("ip")]

FIRST, SECOND, HUB = IPv4Interface("192.0.2.9/24"), IPv4Interface("198.18.0.9/24"), IPv4Interface("203.0.113.1/32")
TARGETS = (Target(HUB.ip),)
SETTINGS = UplinkSettings(
    ("gre1",), (Uplink("up0", targets=TARGETS), Uplink("up1", gateway=(SECOND + 1).ip, targets=TARGETS))
)
GRE1 = LinkView("gre", True, 1400, None, ("10.255.0.2/32",), local=str(SECOND.ip))


def _two_uplinks(strict: bool) -> None:
    command(
        "sh",
        "-c",
        f"""
for name in up0 up1; do
  ip link add $name type veth peer name other-$name
  ip link set $name up; ip link set other-$name up
done
ip link set lo up
ip address add {FIRST} dev up0; ip address add {SECOND} dev up1
ip route add default via {(FIRST + 1).ip} dev up0
ip link add anycast type dummy; ip link set anycast up; ip address add 192.0.2.200/32 dev anycast
for name in all up0 up1; do echo {int(strict)} > /proc/sys/net/ipv4/conf/$name/rp_filter; done
""",
    )


@pytest.mark.parametrize("strict", [False, True], ids=["loose", "strict"])
@in_network_namespace
async def test_a_second_uplink_without_routes_of_its_own_is_found(strict: bool) -> None:
    """Its packets leave by the first one, and a strict rp_filter drops what comes by it."""
    _two_uplinks(strict)
    assert await read_nbma_routes(SETTINGS, {}) == (
        NbmaRoute("up0", str(FIRST.ip), str(HUB.ip), "up0"),
        NbmaRoute("up1", str(SECOND.ip), str(HUB.ip), "up0", is_refused=strict),
    )


@pytest.mark.parametrize("strict", [False, True], ids=["loose", "strict"])
@in_network_namespace
async def test_with_the_agents_tables_nothing_is_wrong(strict: bool) -> None:
    """Also where rp_filter is strict: the kernel asks for the route back by the rules too."""
    _two_uplinks(strict)
    tables = uplink_tables(SETTINGS, {"up0": Condition(FIRST, True), "up1": Condition(SECOND, True)}, ())
    await RouteReconciler(lambda _: tables, NetlinkTables(), Telemetry()).check()
    (_, second) = await read_nbma_routes(SETTINGS, {})
    assert second == NbmaRoute("up1", str(SECOND.ip), str(HUB.ip), "up1")


@in_network_namespace
async def test_the_tunnels_local_address_counts_without_uplink_settings() -> None:
    """Not on an interface that no packet leaves by: any uplink reaches such an address."""
    _two_uplinks(strict=False)
    (route,) = await read_nbma_routes(None, {"gre1": GRE1})
    assert (route.interface, route.leaves_by) == ("up1", "up0")
    assert await read_nbma_routes(None, {"gre1": replace(GRE1, local="192.0.2.200")}) == ()


@in_network_namespace
async def test_without_a_default_route_there_is_no_route() -> None:
    """That is no error of the reading."""
    command("sh", "-c", f"ip link add up0 type veth peer name p0; ip link set up0 up; ip address add {FIRST} dev up0")
    (route,) = await read_nbma_routes(replace(SETTINGS, uplinks=(Uplink("up0"),)), {})
    assert route.leaves_by == ""


@in_network_namespace
async def test_the_rp_filter_in_force_is_the_larger_one() -> None:
    """Of the interface's and that of all interfaces."""
    _two_uplinks(strict=True)
    command("sh", "-c", "echo 2 > /proc/sys/net/ipv4/conf/up0/rp_filter")
    command("sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/up1/rp_filter")
    assert await read_rp_filters(("up0", "up1", "absent")) == {"up0": 2, "up1": 1}
