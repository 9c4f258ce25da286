"""``[tunnel.NAME]``: what the operator wants of each tunnel interface."""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Any

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Invalid, Parser, Table
from dmvpn_agent.kernel.events import InterfaceAddress
from dmvpn_agent.kernel.links.settings import TunnelSettings

#: What a managed interface has if the file does not say otherwise.
DEFAULT_MTU, DEFAULT_RP_FILTER = 1400, 2


def read_tunnels(top: Table, interfaces: tuple[str, ...]) -> Mapping[str, TunnelSettings]:
    """Return the settings of each tunnel interface. Raises ``ConfigError``."""
    tables = dict(top.tables("tunnel", parse.one_of(*interfaces)))
    return {name: _read(name, tables.get(name, Table(f"tunnel.{name}", {}))) for name in interfaces}


def _read(name: str, table: Table) -> TunnelSettings:
    manages = table.get("manage", parse.boolean, False)
    settings = TunnelSettings(
        name=name,
        manages=manages,
        local=table.get("local", parse.optional(_nbma_address), ""),
        device=table.get("device", parse.optional(parse.interface), ""),
        key=table.get("key", parse.optional(parse.integer(0, 2**32 - 1)), ""),
        ttl=table.get("ttl", parse.optional(parse.integer(0, 255)), ""),
        mtu=table.get("mtu", parse.optional(parse.integer(576, 65535)), DEFAULT_MTU if manages else ""),
        addresses=table.get("addresses", _host_prefixes, []),
        multicast=table.get("multicast", parse.optional(parse.boolean), ""),
        vrf=table.get("vrf", parse.optional(parse.interface), ""),
        up=table.get("up", parse.optional(parse.boolean), True if manages else ""),
        forwards=table.get("forwarding", parse.boolean, manages),
        rp_filter=table.get("rp_filter", parse.optional(parse.integer(0, 2)), DEFAULT_RP_FILTER if manages else ""),
        uses_pmtu=table.get("ip_forward_use_pmtu", parse.boolean, False),
    )
    if manages and not settings.addresses:
        raise ConfigError(f"{table.name}.manage is true, but {table.name}.addresses is missing")
    if settings.has_ipv6 and settings.mtu is not None and settings.mtu < 1280:
        raise ConfigError(f"{table.name}.mtu is {settings.mtu}; IPv6 needs 1280 (RFC 8200, section 5)")
    return settings


def require_local(tunnels: Mapping[str, TunnelSettings], uplinks: Collection[str]) -> None:
    """Raise ``ConfigError`` if nothing gives a managed interface its local address.

    ``uplinks``: the interfaces to which ``[uplink]`` gives one.
    """
    for name, settings in tunnels.items():
        if settings.manages and not (settings.local or settings.device or name in uplinks):
            raise ConfigError(
                f"tunnel.{name}.manage is true, but tunnel.{name}.local or device is missing, and [uplink] does not"
                " give it an address"
            )


def _parse_interfaces(value: Any) -> dict[str, str]:
    parse.check(isinstance(value, dict) and value)
    return {parse.interface.parse(name): parse.word.parse(profile) for name, profile in value.items()}


def _parse_nbma(value: Any) -> IPv4Address:
    address = ip_address(value)
    if isinstance(address, IPv6Address):
        raise Invalid("nhrpd has IPv4 NBMA addresses only, up to FRR 10.7")
    if address.is_unspecified or address.is_multicast:
        raise Invalid(f"{address} is no address of a node")
    return address


def _parse_host_prefixes(value: Any) -> tuple[InterfaceAddress, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError
    found = tuple(ip_interface(text) for text in value if isinstance(text, str))
    if len(found) != len(value) or len({address.ip for address in found}) != len(found):
        raise ValueError
    for address in found:
        if address.network.prefixlen != address.max_prefixlen:
            wanted = f"{address.ip}/{address.max_prefixlen}"
            raise Invalid(f"nhrpd before FRR 10.4 takes no address but a host prefix: write {wanted}")
        if address.ip.is_link_local or address.ip.is_multicast or address.ip.is_unspecified:
            raise Invalid(f"{address.ip} is no protocol address")
    return found


_nbma_address: Parser[IPv4Address] = Parser('an IPv4 address, as "192.0.2.1"', _parse_nbma)
_host_prefixes: Parser[tuple[InterfaceAddress, ...]] = Parser(
    'a list of addresses with /32 or /128, each once, as ["10.255.0.1/32"]', _parse_host_prefixes
)
#: ``nhrp.interfaces``
interfaces_with_profiles: Parser[dict[str, str]] = Parser(
    'the tunnel interfaces, each with its profile, as { gre1 = "dmvpn", gre2 = "dmvpn2" }', _parse_interfaces
)
