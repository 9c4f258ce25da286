"""The agent's routes and rules in the kernel, by pyroute2."""

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from dmvpn_agent.kernel.pyroute import load_pyroute2
from dmvpn_agent.kernel.routes.tables import (
    PROTOCOL,
    Change,
    DefaultRoute,
    Observed,
    Route,
    Rule,
    Tables,
    Verb,
)

_AF_INET, _SCOPE_LINK, _SCOPE_UNIVERSE, _RTN_UNICAST, _FR_ACT_TO_TBL, _RT_TABLE_MAIN = 2, 253, 0, 1, 1, 254
#: The change is done already, or its interface is gone and took the route along.
_HARMLESS = {Verb.ADD: frozenset({errno.EEXIST}), Verb.REMOVE: frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})}


class RoutesError(Exception):
    """The kernel refused; the text says what, and what to do."""


class NetlinkTables:
    """The tables of this network namespace."""

    async def observe(self) -> Observed:
        """Return the agent's routes and rules, and others' default routes. Raises ``RoutesError``."""
        pyroute2 = await load_pyroute2()
        try:
            async with pyroute2.AsyncIPRoute() as netlink:
                names = {link["index"]: link.get_attr("IFLA_IFNAME") async for link in await netlink.link("dump")}
                routes, defaults = set[Route | None](), set[DefaultRoute]()
                async for message in await netlink.route("dump", family=_AF_INET):
                    if message["proto"] == PROTOCOL:
                        routes.add(_route(message, names))
                    elif message["dst_len"] == 0 and message["type"] == _RTN_UNICAST and not message["tos"]:
                        defaults.update(_defaults(message, names))
                rules = [
                    _rule(message)
                    async for message in await netlink.rule("dump", family=_AF_INET)
                    if message.get_attr("FRA_PROTOCOL") == PROTOCOL
                ]
        except (OSError, pyroute2.NetlinkError) as error:
            raise RoutesError(f"the kernel's routes cannot be read: {error}") from error
        return Observed(Tables(frozenset(filter(None, routes)), frozenset(rules)), frozenset(defaults))

    async def apply(self, changes: tuple[Change, ...]) -> None:
        """Make the changes in order, up to the first that is refused. Raises ``RoutesError``."""
        pyroute2 = await load_pyroute2()
        async with pyroute2.AsyncIPRoute() as netlink:
            for change in changes:
                try:
                    await _apply(netlink, change)
                except (OSError, pyroute2.NetlinkError) as error:
                    if _code(error) not in _HARMLESS[change.verb]:
                        hint = "; give the agent CAP_NET_ADMIN" if _code(error) == errno.EPERM else ""
                        raise RoutesError(f"the kernel refuses to {change}: {error}{hint}") from error


def _code(error: Exception) -> int | None:
    return getattr(error, "code", None) or getattr(error, "errno", None)


async def _apply(netlink: Any, change: Change) -> None:
    verb = "add" if change.verb is Verb.ADD else "del"
    subject = change.subject
    if isinstance(subject, Rule):
        await netlink.rule(verb, **_rule_arguments(subject))
        return
    indexes = await netlink.link_lookup(ifname=subject.interface)
    if not indexes:
        raise OSError(errno.ENODEV, f"there is no interface {subject.interface}")
    await netlink.route(verb, **_route_arguments(subject, indexes[0]))


def _route_arguments(route: Route, index: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "family": _AF_INET,
        "dst": str(route.network),
        "oif": index,
        "table": route.table,
        "proto": PROTOCOL,
        "type": _RTN_UNICAST,
        "scope": _SCOPE_UNIVERSE if route.gateway else _SCOPE_LINK,
    }
    if route.gateway:
        arguments["gateway"] = str(route.gateway)
    if route.mtu:
        arguments["metrics"] = {"mtu": route.mtu}
    return arguments


def _rule_arguments(rule: Rule) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "family": _AF_INET,
        "priority": rule.priority,
        "table": rule.table,
        "protocol": PROTOCOL,
        "action": _FR_ACT_TO_TBL,
    }
    if rule.source:
        arguments |= {"src": str(rule.source), "src_len": 32}
    if rule.interface:
        arguments["oifname"] = rule.interface
    if not rule.source and not rule.interface:
        arguments["iifname"] = "lo"
    return arguments


def _route(message: Any, names: dict[int, str]) -> Route | None:
    name = names.get(message.get_attr("RTA_OIF") or 0)
    if name is None:
        return None
    gateway, metrics = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_METRICS")
    return Route(
        table=message.get_attr("RTA_TABLE") or message["table"],
        network=IPv4Network((message.get_attr("RTA_DST") or 0, message["dst_len"])),
        interface=name,
        gateway=IPv4Address(gateway) if gateway else None,
        mtu=(metrics.get_attr("RTAX_MTU") or 0) if metrics else 0,
    )


def _defaults(message: Any, names: dict[int, str]) -> Iterator[DefaultRoute]:
    """Yield a default route, one for each of its next hops. One by an IPv6 gateway (RFC 5549) has none for us."""
    if (message.get_attr("RTA_TABLE") or message["table"]) != _RT_TABLE_MAIN:
        return
    metric = message.get_attr("RTA_PRIORITY") or 0
    hops = message.get_attr("RTA_MULTIPATH")
    for hop in hops or (message,):
        name = names.get(hop["oif"] if hops else message.get_attr("RTA_OIF") or 0)
        if name is not None and not hop.get_attr("RTA_VIA"):
            gateway = hop.get_attr("RTA_GATEWAY")
            yield DefaultRoute(name, IPv4Address(gateway) if gateway else None, metric)


def _rule(message: Any) -> Rule:
    source = message.get_attr("FRA_SRC")
    return Rule(
        priority=message.get_attr("FRA_PRIORITY") or 0,
        table=message.get_attr("FRA_TABLE") or message["table"],
        source=IPv4Address(source) if source else None,
        interface=message.get_attr("FRA_OIFNAME") or "",
    )
