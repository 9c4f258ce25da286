"""Routing tables and rules as values, and the changes that lead from the observed to the desired ones.

The agent owns the routes and rules whose protocol is ``PROTOCOL``, and touches no others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

#: Marks the agent's routes and rules (``proto 77`` in ``ip route`` and ``ip rule``).
PROTOCOL = 77

DEFAULT = IPv4Network("0.0.0.0/0")

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Route:
    """A route of a table, on-link without a ``gateway``; ``mtu``: the path MTU, 0 for the interface's."""

    table: int
    network: IPv4Network
    interface: str
    gateway: IPv4Address | None = None
    mtu: int = 0

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        return f"route {self.network}{via} dev {self.interface}{mtu} table {self.table}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that leads to a table: for packets from ``source``, bound to ``interface``, or sent by this node."""

    priority: int
    table: int
    source: IPv4Address | None = None
    interface: str = ""

    def __str__(self) -> str:
        source = f" from {self.source}" if self.source else ""
        interface = f" oif {self.interface}" if self.interface else ""
        local = "" if source or interface else " iif lo"
        return f"rule{source}{interface}{local} lookup {self.table} priority {self.priority}"


@dataclass(frozen=True, slots=True)
class Tables:
    """The agent's routes and rules."""

    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """A default route of the main table that somebody else made: a DHCP client, pppd, ModemManager, an operator.

    ``gateway``: ``None`` if the route needs none. The kernel prefers the lowest ``metric``.
    """

    interface: str
    gateway: IPv4Address | None = None
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """The agent's ``own`` routes and rules, and the main table's ``defaults``."""

    own: Tables = Tables()
    defaults: frozenset[DefaultRoute] = frozenset()


class Verb(StrEnum):
    """What a change does."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """One change."""

    verb: Verb
    subject: Route | Rule

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}"


def plan(desired: Tables, observed: Tables) -> tuple[Change, ...]:
    """Return the changes in an order of which every interrupted prefix leaves no rule that leads to an empty table.

    A lookup in an empty table goes on with the next rule, but a route that replaces another one of its table and
    network must come after the removal of that one.
    """
    return tuple(_changes(desired, observed))


def _changes(desired: Tables, observed: Tables) -> Iterator[Change]:
    replaced = {(route.table, route.network) for route in desired.routes - observed.routes}
    obsolete = observed.routes - desired.routes
    yield from (Change(Verb.REMOVE, rule) for rule in _ordered(observed.rules - desired.rules))
    for route in _ordered(obsolete):
        if (route.table, route.network) in replaced:
            yield Change(Verb.REMOVE, route)
    # On-link routes first: gateways are reached by them.
    for route in sorted(desired.routes - observed.routes, key=lambda one: (one.gateway is not None, str(one))):
        yield Change(Verb.ADD, route)
    yield from (Change(Verb.ADD, rule) for rule in _ordered(desired.rules - observed.rules))
    for route in _ordered(obsolete):
        if (route.table, route.network) not in replaced:
            yield Change(Verb.REMOVE, route)


def _ordered(things: frozenset[Thing]) -> list[Thing]:
    return sorted(things, key=str)
