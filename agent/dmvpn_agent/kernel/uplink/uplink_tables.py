"""The routing table of each uplink that has a ``gateway``.

Packets from an uplink's address, and those of its probes, must leave by that uplink, whatever the default route is:
otherwise the probes of a second uplink go out by the first one, and after a change so do IKE and ESP.
"""

from collections.abc import Mapping

from dmvpn_agent.kernel.routes.tables import DEFAULT, Route, Rule, Tables
from dmvpn_agent.kernel.uplink.selection import Condition
from dmvpn_agent.kernel.uplink.settings import UplinkSettings


def uplink_tables(settings: UplinkSettings, conditions: Mapping[str, Condition]) -> Tables:
    """Return the tables of the uplinks that are up and have an address."""
    routes, rules = set[Route](), set[Rule]()
    for number, uplink in enumerate(settings.uplinks):
        condition, table = conditions[uplink.interface], settings.table + number
        if uplink.gateway is None or condition.address is None or not condition.running:
            continue
        routes |= {
            Route(table, condition.address.network, uplink.interface),
            Route(table, DEFAULT, uplink.interface, uplink.gateway),
        }
        rules |= {
            Rule(settings.priority, table, source=condition.address.ip),
            Rule(settings.priority, table, interface=uplink.interface),
        }
    return Tables(frozenset(routes), frozenset(rules))
