"""What the operator says: a TOML file for machines (``--answers``), or what was typed at a question."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from dmvpn_agent.addresses import Network
from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import Parser, Table
from dmvpn_agent.config.toml_file import read_toml
from dmvpn_agent.setup.bundle import is_host
from dmvpn_agent.setup.node import Hub
from dmvpn_agent.setup.system import FirewallBy, TunnelBy
from dmvpn_agent.x509.certificate import Role


@dataclass(frozen=True, slots=True)
class Answers:
    """The operator's answers; ``None`` for what setup is to find out by itself.

    ``uplink``: an interface, or an IPv4 address of this node. ``networks``: what this node announces. ``strongswan``:
    ``bridged`` or ``native``.
    """

    uplink: str | None = None
    role: Role | None = None
    as_number: int | None = None
    tunnel_networks: tuple[Network, ...] | None = None
    allowed_networks: tuple[Network, ...] | None = None
    networks: tuple[Network, ...] | None = None
    hubs: tuple[Hub, ...] | None = None
    ibgp: bool | None = None
    strongswan: str | None = None
    cisco: bool | None = None
    tunnel: TunnelBy | None = None
    firewall: FirewallBy | None = None
    key: int | None = None
    mtu: int | None = None


def _hub(value: Any) -> Hub:
    first, given, second = str(value).partition("=")
    nbma = second if given else first
    if not is_host(nbma):
        raise ValueError
    return Hub(nbma, ip_address(first) if given else None)


def _hubs(value: Any) -> tuple[Hub, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_hub(one) for one in value)


def _uplink(value: Any) -> str:
    try:
        return parse.interface.parse(value)
    except ValueError:
        return str(ip_address(value))


_PARSERS: Mapping[str, Parser[Any]] = {
    "uplink": Parser("an interface or an IPv4 address of this node", _uplink),
    "role": Parser("hub or spoke", Role),
    "as_number": parse.integer(1, 4294967294),
    "tunnel_networks": parse.networks(at_least=1),
    "allowed_networks": parse.networks(),
    "networks": parse.networks(),
    "hubs": Parser(
        'a list of hubs, each a DNS name or an IPv4 address, or with its protocol address before it: '
        '["hub.example.com", "10.255.0.1=203.0.113.1"]', _hubs,
    ),
    "ibgp": parse.boolean,
    "strongswan": parse.one_of("bridged", "native"),
    "cisco": parse.boolean,
    "tunnel": Parser("one of agent, ifupdown, systemd-networkd, operator", TunnelBy),
    "firewall": Parser("one of firewalld, awall, none", FirewallBy),
    "key": parse.integer(0, 4294967295),
    "mtu": parse.integer(576, 9000),
}  # fmt: skip


def read_answers(text: bytes) -> Answers:
    """Read an answers file. Raises ``ConfigError`` for an unknown key and for a value that is not allowed."""
    table = Table("", read_toml(text))
    found = {key: table.get_or(key, parser, None) for key, parser in _PARSERS.items()}
    table.finish()
    return Answers(**found)


def parse_answer(key: str, typed: str) -> Any:
    """Return the value of what was typed; several are separated by commas. Raises ``ConfigError``."""
    parser = _PARSERS[key]
    several = key in {"hubs", "networks", "tunnel_networks", "allowed_networks"}
    value: Any = [one.strip() for one in typed.split(",") if one.strip()] if several else typed.strip()
    if key == "as_number" and typed.strip().isdecimal():
        value = int(typed)
    return Table("", {key: value}).get(key, parser)
