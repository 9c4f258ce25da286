"""The configuration of the agent's nftables table and chain of iptables."""

from collections.abc import Iterable
from typing import Any

from dmvpn_agent.config import values as parse
from dmvpn_agent.config.table import ConfigError, Parser, Table
from dmvpn_agent.kernel.iptables.settings import Backend
from dmvpn_agent.kernel.links.settings import TunnelSettings
from dmvpn_agent.kernel.nftables.gre_guard import GreGuard
from dmvpn_agent.kernel.nftables.redirect_rule import RedirectRule
from dmvpn_agent.kernel.nftables.source_filter import FilterMode, SourceFilter
from dmvpn_agent.x509.certificate import Role


def _mark_mask(value: Any) -> int:
    mask = parse.integer(1, 0xFFFFFFFF).parse(value)
    ones = mask // (mask & -mask)
    if ones < 0xFF or ones & (ones + 1):
        raise ValueError
    return mask


mark_mask: Parser[int] = Parser("8 or more adjacent bits of the 32 of a packet mark, as 0xffff0000", _mark_mask)


def read_firewall(table: Table) -> Backend:
    """Return which firewall has the redirect and multicast rules. Raises ``ConfigError``."""
    return Backend(table.get("backend", parse.one_of(*Backend), Backend.AUTO))


def refuse_wildcards(interfaces: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` for a name that iptables takes for all names that begin so."""
    if wrong := [name for name in interfaces if name.endswith("+")]:
        raise ConfigError(f"nhrp.interfaces has {wrong[0]}, which means several interfaces to iptables; rename it")


def read_redirect(table: Table, role: Role, interfaces: tuple[str, ...]) -> RedirectRule | None:
    """Return the redirect rule, ``None`` if it is off. Raises ``ConfigError``."""
    enabled = table.get("enabled", parse.boolean, role is Role.HUB)
    rule = RedirectRule(
        interfaces=interfaces,
        nflog_group=table.get("nflog_group", parse.integer(1, 65535), 1),
        source_prefix_length=table.get("source_prefix_length", parse.integer(1, 32), 24),
        destination_prefix_length=table.get("destination_prefix_length", parse.integer(1, 32), 24),
        rate_per_minute=table.get("rate_per_minute", parse.integer(1, 60000), 4),
        burst=table.get("burst", parse.integer(1, 60000), 1),
        source_prefix_length_ipv6=table.get("source_prefix_length_ipv6", parse.integer(1, 128), 64),
        destination_prefix_length_ipv6=table.get("destination_prefix_length_ipv6", parse.integer(1, 128), 64),
    )
    return rule if enabled else None


def read_source_filter(table: Table) -> SourceFilter | None:
    """Return the source filter, ``None`` if it is off. Raises ``ConfigError``."""
    mode = FilterMode(table.get("mode", parse.one_of(*FilterMode), FilterMode.COUNT))
    settings = SourceFilter(mode, table.get("mark_mask", mark_mask, 0xFFFF0000))
    return None if mode is FilterMode.OFF else settings


def read_gre_guard(table: Table, tunnels: Iterable[TunnelSettings]) -> GreGuard | None:
    """Return the GRE guard with the configured keys of the tunnels, ``None`` if it is off. Raises ``ConfigError``."""
    mode = FilterMode(table.get("mode", parse.one_of(*FilterMode), FilterMode.COUNT))
    keys = frozenset[int | None](tunnel.key for tunnel in tunnels if tunnel.key is not None)
    return None if mode is FilterMode.OFF else GreGuard(mode, keys)


def read_mss_clamp(table: Table) -> bool:
    """Tell whether the MSS is clamped. Raises ``ConfigError``."""
    return table.get("enabled", parse.boolean, False)
