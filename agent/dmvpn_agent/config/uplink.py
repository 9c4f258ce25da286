"""``[uplink]``: the interfaces towards the internet, and how the agent finds out which of them work."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any, Literal

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Parser, Table
from dmvpn_agent.kernel.links.settings import TunnelSettings
from dmvpn_agent.kernel.uplink.settings import AUTO, ProbeProtocol, Target, Uplink, UplinkSettings

#: linux/rtnetlink.h: default, main, local.
_SYSTEM_TABLES = frozenset({253, 254, 255})


def read_uplinks(table: Table, tunnels: tuple[str, ...]) -> UplinkSettings | None:
    """Return the settings; ``None`` without a ``[[uplink.link]]``. Raises ``ConfigError``."""
    settings = UplinkSettings(
        tunnels=table.get("tunnels", _interfaces, list(tunnels)),
        uplinks=tuple(map(_uplink, table.rows("link"))),
        interval=table.get("interval_seconds", parse.seconds(0.2, 60), 1),
        timeout=table.get("timeout_seconds", parse.seconds(0.1, 60), 1),
        fall=table.get("fall", parse.integer(1, 100), 3),
        rise=table.get("rise", parse.integer(1, 1000), 5),
        table=table.get("table", parse.integer(1, 4294967000), 7700),
        priority=table.get("rule_priority", parse.integer(1, 32765), 7700),
    )
    names = [uplink.interface for uplink in settings.uplinks]
    _refuse_others("uplink.tunnels", settings.tunnels, tunnels)
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"uplink.link: {twice[0]} has two rows; expected one for each interface")
    if both := [name for name in names if name in tunnels]:
        raise ConfigError(f"uplink.link: {both[0]} is a tunnel interface; expected the interface below it")
    if taken := _SYSTEM_TABLES & {settings.table + number for number in range(len(settings.uplinks))}:
        raise ConfigError(f"uplink.table: {min(taken)} is a table of the system; expected tables of the agent alone")
    return settings if settings.uplinks else None


def refuse_second_writer(settings: UplinkSettings, tunnels: Mapping[str, TunnelSettings]) -> None:
    """Raise ``ConfigError`` if another table sets the local address of a tunnel too."""
    for name in settings.tunnels:
        tunnel = tunnels.get(name)
        for key in ("local", "device"):
            if tunnel is not None and getattr(tunnel, key) is not None:
                raise ConfigError(
                    f"tunnel.{name}.{key} sets the local address of {name}, as uplink.tunnels does; expected one of"
                    f' them: set tunnel.{name}.{key} to "", or leave {name} out of uplink.tunnels'
                )


def _refuse_others(key: str, names: Iterable[str], tunnels: tuple[str, ...]) -> None:
    if others := [name for name in names if name not in tunnels]:
        raise ConfigError(f"{key} has {others[0]}; expected some of nhrp.interfaces: {', '.join(tunnels)}")


def _uplink(row: Table) -> Uplink:
    return Uplink(
        interface=row.get("name", parse.interface),
        gateway=row.get_or("gateway", _gateway, None),
        targets=row.get("targets", _targets, []),
    )


def _parse_targets(value: Any) -> tuple[Target, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_target(item) for item in value)


def _target(text: str) -> Target:
    protocol, _, rest = text.partition(":")
    if not rest:
        return Target(IPv4Address(text))
    address, _, port = rest.rpartition(":")
    if protocol not in {ProbeProtocol.TCP, ProbeProtocol.UDP} or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError
    return Target(IPv4Address(address), ProbeProtocol(protocol), int(port))


_targets: Parser[tuple[Target, ...]] = Parser(
    'a list of IPv4 hosts that answer: "192.0.2.1" to a ping, "tcp:192.0.2.1:443" to a connection,'
    ' "udp:192.0.2.1:33434" to a datagram',
    _parse_targets,
)
_gateway: Parser[IPv4Address | Literal["auto"] | None] = Parser(
    'an IPv4 address, or "auto": that of the interface\'s default route, as DHCP, PPP or ModemManager sets it',
    lambda value: AUTO if value == AUTO else IPv4Address(value),
)
_interfaces: Parser[tuple[str, ...]] = Parser(
    'a list of interfaces, as ["gre1"]', lambda value: tuple(parse.interface.parse(name) for name in value)
)
