"""nhrpd's cache and shortcuts, from ``show ip nhrp cache json`` and ``show ip nhrp shortcut json``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.frr.show_json import raise_format_error, shown_address, table_rows
from dmvpn_agent.runtime import json_values as typed

#: The commands that show nhrpd's bindings, by the IP version of the protocol addresses: nhrpd has a table for each.
CACHE_COMMANDS: Mapping[int, str] = {4: "show ip nhrp cache json", 6: "show ipv6 nhrp cache json"}
SHORTCUT_COMMANDS: Mapping[int, str] = {4: "show ip nhrp shortcut json", 6: "show ipv6 nhrp shortcut json"}


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A row of nhrpd's cache."""

    interface: str
    binding_type: str
    protocol_address: Address
    nbma_address: Address | None


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A row of nhrpd's shortcuts. ``via``: the protocol address of the peer; ``None`` while it is being resolved."""

    prefix: Network
    via: Address | None


def parse_nhrp_cache(
    text: str, skip: Callable[[str], None] = raise_format_error, version: int = 4
) -> tuple[CacheEntry, ...]:
    """Read the output of ``CACHE_COMMANDS[version]``; ``skip`` as for ``table_rows``. Raises ``FrrFormatError``."""
    return table_rows(text, CACHE_COMMANDS[version], _cache_entry, skip)


def parse_shortcuts(text: str, version: int = 4) -> tuple[Shortcut, ...]:
    """Read the output of ``SHORTCUT_COMMANDS[version]``; an unreadable row is left out. Raises ``FrrFormatError``."""
    return table_rows(text, SHORTCUT_COMMANDS[version], _shortcut, skip=lambda _: None)


def _cache_entry(row: Mapping[str, Any]) -> CacheEntry:
    return CacheEntry(
        interface=typed.text(row["interface"]),
        binding_type=typed.text(row["type"]),
        protocol_address=ip_address(typed.text(row["protocol"])),
        nbma_address=shown_address(typed.text(row.get("nbma") or "-")),
    )


def _shortcut(row: Mapping[str, Any]) -> Shortcut:
    return Shortcut(
        prefix=ip_network(typed.text(row["prefix"]), strict=False),
        via=shown_address(typed.text(row.get("via") or "-")),
    )
