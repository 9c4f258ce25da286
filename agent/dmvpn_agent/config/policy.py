"""The ``[policy]`` tables: rules for all peers, for an interface, and for a kind of peer.

A table inherits the keys that it does not have: ``[policy.hub]``, ``[policy.spoke]`` and ``[policy.shortcut]`` from
``[policy.interfaces.<name>]``, and that from ``[policy]``.
"""

import re
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, NamedTuple

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.config import values as parse
from dmvpn_agent.config.groups import read_groups
from dmvpn_agent.config.table import REQUIRED, ConfigError, Invalid, Parser, Table
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.rules import Action, Combination, Maintenance, OnConflict, Policy, Rules, StaticPeer
from dmvpn_agent.x509.certificate import Claim, Resources, Role, Source
from dmvpn_agent.x509.rfc4514 import why_no_identity_matches, why_no_name_matches

PRIVATE_AS_RANGES = (AsRange(64512, 65534), AsRange(4200000000, 4294967294))  # RFC 6996
EVERYTHING: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
CERTIFICATE_SOURCES = tuple(source for source in Source if source is not Source.STATIC)

_STATIC = "policy.peer"


class Node(NamedTuple):
    """What the policy needs from the rest of the configuration. ``as_number`` is ``None`` without BGP."""

    role: Role
    interfaces: tuple[str, ...]
    as_number: int | None


def read_policy(table: Table, node: Node) -> Policy:
    """Read ``[policy]`` and its tables. Raises ``ConfigError``."""
    hub = node.role is Role.HUB
    general = _rules(
        table,
        Rules(
            tunnel_networks=table.get("tunnel_networks", parse.networks(at_least=1)),
            allowed_networks=table.get("allowed_networks", parse.networks(), REQUIRED) if hub else EVERYTHING,
            as_ranges=PRIVATE_AS_RANGES,
            needs_as_number=node.as_number is not None,
            allows_hosts=not hub,
        ),
    )
    kinds = {kind: table.table(kind) for kind in PeerKind}
    interfaces = dict.fromkeys(node.interfaces, general)
    for name, special in table.tables("interfaces", _one_of(node.interfaces)):
        interfaces[name] = _rules(special, general)
    sources = table.table("sources")
    return Policy(
        role=node.role,
        rules={
            name: {kind: _of_kind(kinds[kind], rules, kind) for kind in PeerKind}
            for name, rules in interfaces.items()
        },
        own_as_number=node.as_number,
        sources=sources.get("order", parse.several_of(*CERTIFICATE_SOURCES), CERTIFICATE_SOURCES),
        combination=Combination(sources.get("combine", parse.one_of(*Combination), Combination.FIRST)),
        static_peers=tuple(_static_peer(row) for row in table.rows("peer")),
        maintenance=tuple(_maintenance(row) for row in table.rows("maintenance")),
        requires_crl=table.get("require_crl", parse.boolean, False),
        confirms_certificates=table.get("confirm_certificates", parse.boolean, True),
        overclaiming_issuers=_patterns(table, "allow_overclaim", ()),
        groups=read_groups(table.table("groups")),
    )


def _one_of(interfaces: tuple[str, ...]) -> Parser[str]:
    known = parse.one_of(*interfaces)
    return replace(known, expected=f"one of nhrp.interfaces: {', '.join(interfaces)}")


def _rules(table: Table, inherited: Rules) -> Rules:
    """Read the rules in a table; the other rules are inherited."""
    ipv4, ipv6 = inherited.max_prefix_length
    return replace(
        inherited,
        allowed=table.get_or("allowed", parse.boolean, inherited.allowed),
        tunnel_networks=table.get_or("tunnel_networks", parse.networks(at_least=1), inherited.tunnel_networks),
        allowed_networks=table.get_or("allowed_networks", parse.networks(), inherited.allowed_networks),
        forbidden_networks=table.get_or("forbidden_networks", parse.networks(), inherited.forbidden_networks),
        allows_default_route=table.get_or("allow_default_route", parse.boolean, inherited.allows_default_route),
        as_ranges=table.get_or("as_numbers", _as_ranges, inherited.as_ranges),
        allows_ibgp=table.get_or("allow_ibgp", parse.boolean, inherited.allows_ibgp),
        max_prefix_length=(
            table.get_or("max_prefix_length", parse.integer(0, 32), ipv4),
            table.get_or("max_prefix_length_ipv6", parse.integer(0, 128), ipv6),
        ),
        max_protocol_addresses=table.get_or(
            "max_protocol_addresses", parse.integer(1, 1000), inherited.max_protocol_addresses
        ),
        max_prefixes=table.get_or("max_prefixes", parse.integer(0, 1000), inherited.max_prefixes),
        issuers=_patterns(table, "issuers", inherited.issuers),
        subjects=_patterns(table, "subjects", inherited.subjects),
        on_conflict=OnConflict(table.get_or("on_conflict", parse.one_of(*OnConflict), inherited.on_conflict)),
    )


def _patterns(table: Table, key: str, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """Read patterns for names. Raises ``ConfigError`` for a pattern that no certificate can match."""
    found = table.get_or(key, parse.patterns, inherited)
    for pattern in found:
        if why := why_no_name_matches(pattern):
            raise _impossible(f"{table.name}.{key}", pattern, why)
    return found


def _impossible(where: str, pattern: str, why: str) -> ConfigError:
    return ConfigError(
        f"{where}: {pattern!r} matches nothing: {why} (`dmvpn-agent explain` prints the names to match)"
    )


def _of_kind(table: Table, inherited: Rules, kind: PeerKind) -> Rules:
    """Read the rules for a kind of peer.

    Only these tables have ``require_hub_role`` and ``transit``, which are true for hubs by default.
    """
    return replace(
        _rules(table, inherited),
        requires_hub_role=table.get("require_hub_role", parse.boolean, kind is PeerKind.HUB),
        transit=table.get("transit", parse.boolean, kind is PeerKind.HUB),
    )


def _static_peer(row: Table) -> StaticPeer:
    addresses: tuple[Address, ...] = row.get("protocol_addresses", parse.addresses)
    as_number: int | None = row.get_or("as_number", parse.integer(1, 4294967294), None)
    prefixes = row.get("prefixes", parse.networks(), [])
    role = Role(row.get("role", parse.one_of(*Role), Role.SPOKE))
    identity, overrides = row.get("identity", parse.text), row.get("override", parse.boolean, False)
    if why := why_no_identity_matches(identity, without_certificate=not overrides):
        raise _impossible(f"{row.name}.identity", identity, why)
    return StaticPeer(
        identity=identity,
        overrides=overrides,
        resources=Resources(
            protocol_addresses=tuple(Claim(_STATIC, str(address), address) for address in addresses),
            as_numbers=() if as_number is None else (Claim(_STATIC, str(as_number), AsRange(as_number, as_number)),),
            prefixes=tuple(Claim(_STATIC, str(prefix), prefix) for prefix in prefixes),
            roles=(Claim(_STATIC, str(role), role),),
        ),
    )


def _maintenance(row: Table) -> Maintenance:
    identity: str | None = row.get_or("identity", parse.text, None)
    serial: int | None = row.get_or("serial", _serial, None)
    if (identity is None) is (serial is None):
        raise ConfigError(f"{row.name}: expected either identity or serial, not both")
    if identity is not None and (why := why_no_identity_matches(identity)):
        raise _impossible(f"{row.name}.identity", identity, why)
    return Maintenance(Action(row.get("action", parse.one_of(*Action))), identity, serial)


def _parse_as_ranges(value: Any) -> tuple[AsRange, ...]:
    parse.check(isinstance(value, list) and value)
    ranges = []
    for item in value:
        found = re.fullmatch(r"([0-9]+) *(?:- *([0-9]+))?", str(item))
        if found is None and re.fullmatch(r" *[0-9]+ *- *", str(item)):
            raise Invalid(f"{item!r} has no end: write {str(item).strip()}4294967294")
        if found is None or isinstance(item, bool):
            raise Invalid(f"{item!r} is neither a number nor a range: write 64512 or 64512-65534")
        numbers = AsRange(int(found[1]), int(found[2] or found[1]))
        parse.check(0 < numbers.low <= numbers.high < 2**32)
        ranges.append(numbers)
    return tuple(ranges)


def _parse_serial(value: Any) -> int:
    digits = parse.text.parse(value).replace(":", "")
    parse.check(re.fullmatch("[0-9A-Fa-f]{1,40}", digits))
    return int(digits, 16)


_as_ranges: Parser[tuple[AsRange, ...]] = Parser(
    'a list of AS numbers or ranges, as ["64512-65534"]', _parse_as_ranges
)
_serial: Parser[int] = Parser("a serial number in hexadecimal, as openssl and pki print it", _parse_serial)
