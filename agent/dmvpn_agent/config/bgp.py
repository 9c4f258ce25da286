"""``[bgp]``."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.settings import BgpSettings, MaximumPrefix
from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import REQUIRED, Parser, Table
from dmvpn_agent.x509.certificate import Role


def read_bgp(table: Table, role: Role) -> BgpSettings | None:
    """Return the settings, ``None`` if the agent does not manage BGP. Raises ``ConfigError``."""
    enabled = table.get("enabled", parse.boolean, role is Role.HUB)
    as_number = table.get("as_number", parse.integer(1, 4294967294), REQUIRED if enabled else 1)
    maximum_prefix, transit_maximum_prefix = _maximum_prefixes(table)
    bgp = BgpSettings(
        as_number=as_number,
        peer_group=table.get("peer_group", parse.word, "hubs" if role is Role.SPOKE else "spokes"),
        hub_peer_group=table.get("hub_peer_group", parse.word_or_none, ""),
        ibgp_peer_group=table.get("ibgp_peer_group", parse.word_or_none, ""),
        ibgp_hub_peer_group=table.get("ibgp_hub_peer_group", parse.word_or_none, ""),
        ipv6=table.get("ipv6", parse.boolean, False),
        maximum_prefix=maximum_prefix,
        transit_maximum_prefix=transit_maximum_prefix,
        hub_weights=table.get("hub_weights", _hub_weights, {}),
        only_hubs=role is Role.SPOKE,
        vrf=table.get("vrf", parse.word_or_none, ""),
    )
    return bgp if enabled else None


def _maximum_prefixes(table: Table) -> tuple[MaximumPrefix | None, MaximumPrefix | None]:
    """Return the limit of peers, and that of peers that announce the prefixes of others."""
    maximum = parse.integer(0, 4294967295)
    limits = table.get("maximum_prefixes", maximum, 1000), table.get("transit_maximum_prefixes", maximum, 0)
    restart = table.get("maximum_prefixes_restart_minutes", parse.integer(0, 65535), 15)
    own, transit = (MaximumPrefix(limit, restart) if limit else None for limit in limits)
    return own, transit


def _parse_weights(value: Any) -> Mapping[Address, int]:
    parse.check(isinstance(value, dict))
    weight_range = parse.integer(1, 65535)
    weights = {ip_address(key): weight_range.parse(weight) for key, weight in value.items()}
    parse.check(len(weights) == len(value))  # two spellings of one IPv6 address
    return weights


_hub_weights: Parser[Mapping[Address, int]] = Parser(
    'weights from 1 to 65535 by address, as { "10.255.0.1" = 200 }', _parse_weights
)
