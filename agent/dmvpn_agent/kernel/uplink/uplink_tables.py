"""The routing table of each uplink that has a ``gateway``.

Packets from an uplink's address, and those of its probes, must leave by that uplink, whatever the default route is:
otherwise the probes of a second uplink go out by the first one, and after a change so do IKE and ESP.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from dmvpn_agent.kernel.routes.tables import DEFAULT, DefaultRoute, Route, Rule, Tables
from dmvpn_agent.kernel.uplink.selection import Condition
from dmvpn_agent.kernel.uplink.settings import AUTO, Uplink, UplinkSettings


@dataclass(frozen=True, slots=True)
class NextHop:
    """How packets leave by an uplink: by its ``gateway``, or straight by the interface."""

    gateway: IPv4Address | None


def uplink_tables(
    settings: UplinkSettings, conditions: Mapping[str, Condition], defaults: Collection[DefaultRoute]
) -> Tables:
    """Return the tables of the uplinks that are up, have an address, and of which the next hop is known."""
    routes, rules = set[Route](), set[Rule]()
    for number, uplink in enumerate(settings.uplinks):
        condition, table = conditions[uplink.interface], settings.table + number
        hop = next_hop(uplink, condition, defaults)
        if hop is None or condition.address is None or not condition.running:
            continue
        routes |= set(_routes(table, uplink.interface, condition.address, hop.gateway))
        rules |= {
            Rule(settings.priority, table, source=condition.address.ip),
            Rule(settings.priority, table, interface=uplink.interface),
        }
    return Tables(frozenset(routes), frozenset(rules))


def next_hop(uplink: Uplink, condition: Condition, defaults: Collection[DefaultRoute]) -> NextHop | None:
    """Return the next hop of an uplink; ``None`` if it is unknown, or the operator's own routes lead there."""
    if uplink.gateway is None:
        return None
    if uplink.gateway != AUTO:
        return NextHop(uplink.gateway)
    own = [one for one in defaults if one.interface == uplink.interface]
    if own:
        return NextHop(min(own, key=lambda one: (one.metric, str(one.gateway))).gateway)
    return NextHop(None) if condition.direct else None


def lacks_next_hop(uplink: Uplink, condition: Condition, defaults: Collection[DefaultRoute]) -> bool:
    """Tell whether an uplink that could carry packets should have a table, and no gateway is known for it."""
    return uplink.gateway == AUTO and condition.present and next_hop(uplink, condition, defaults) is None


def _routes(table: int, interface: str, address: IPv4Interface, gateway: IPv4Address | None) -> Iterator[Route]:
    yield Route(table, DEFAULT, interface, gateway)
    if address.network.prefixlen < address.max_prefixlen:
        yield Route(table, address.network, interface)
    # As a provider gives it with an address of 32 bits, or at the other end of a point-to-point interface.
    if gateway is not None and gateway not in address.network:
        yield Route(table, IPv4Network(gateway), interface)
