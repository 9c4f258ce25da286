"""Checks of the routes of NBMA addresses, and of ``rp_filter``."""

from collections.abc import Iterator

from dmvpn_agent.doctor.check import Check, Level, result, unknown
from dmvpn_agent.doctor.node import SOMEWHERE, STRICT, Expected, NbmaRoute, NodeView, Unknown


def source_routing_checks(node: NodeView, expected: Expected) -> Iterator[Check]:
    """Yield the checks of the routes of NBMA addresses, and of ``rp_filter`` on the tunnels."""
    if isinstance(node.nbma_routes, Unknown):
        yield unknown("routes of NBMA addresses", node.nbma_routes, "install iproute2: `ip -json route` must work")
    else:
        for route in node.nbma_routes:
            yield from _route_checks(route)
    if isinstance(node.rp_filters, Unknown):
        yield unknown("rp_filter", node.rp_filters, "mount /proc/sys")
    else:
        for name in expected.tunnels:
            if name in node.rp_filters:
                yield _rp_filter(name, node.rp_filters[name])


def _route_checks(route: NbmaRoute) -> Iterator[Check]:
    if route.leaves_by or route.far != str(SOMEWHERE):
        yield result(
            f"packets from {route.address}", route.leaves_by == route.interface,
            f"leave by {route.leaves_by}" if route.leaves_by else f"have no route to {route.far}",
            f"to {route.far} they leave by {route.interface}, which has the address: a provider drops packets from"
            " another one's address",
            f"set `gateway` of the uplink {route.interface} ([[uplink.link]]), to \"auto\" with DHCP, PPP or WWAN;"
            f" or: ip rule add from {route.address} table N, with a default route by {route.interface} in table N",
            Level.WARNING,
        )  # fmt: skip
    yield result(
        f"packets to {route.address}", not route.is_refused,
        "dropped by rp_filter" if route.is_refused else "accepted",
        f"packets from {route.far} that come by {route.interface} are accepted",
        f"sysctl net.ipv4.conf.{route.interface}.rp_filter=2 (loose), or give packets from {route.address} a route by"
        f" {route.interface}",
    )  # fmt: skip


def _rp_filter(name: str, value: int) -> Check:
    return result(
        f"rp_filter of {name}", value != STRICT, f"{value} (strict)" if value == STRICT else str(value),
        "0 or 2 (loose): packets may come by another way than answers go, with two hubs or while a shortcut begins",
        f"tunnel.{name}.rp_filter = 2, or: sysctl net.ipv4.conf.{name}.rp_filter=2", Level.WARNING,
    )  # fmt: skip
