"""nhrpd's cache and shortcuts, from ``show ip nhrp cache json`` and ``show ip nhrp shortcut json``."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.frr.show_json import MALFORMED, FrrFormatError, json_object, raise_format_error
from dmvpn_agent.runtime import json_values as typed


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A row of nhrpd's cache."""

    interface: str
    binding_type: str
    protocol_address: Address
    nbma_address: Address | None


#: The commands that show nhrpd's bindings, by the IP version of the protocol addresses: nhrpd has a table for each.
CACHE_COMMANDS: Mapping[int, str] = {4: "show ip nhrp cache json", 6: "show ipv6 nhrp cache json"}


def parse_nhrp_cache(
    text: str, skip: Callable[[str], None] = raise_format_error, version: int = 4
) -> tuple[CacheEntry, ...]:
    """Read the output of ``CACHE_COMMANDS[version]``.

    ``skip`` is called with the reason for each unreadable row, which is then missing from the result; the default
    raises. Raises ``FrrFormatError``.
    """
    command = CACHE_COMMANDS[version]
    rows = json_object(text, command).get("table")
    if not isinstance(rows, list):
        raise FrrFormatError(f"{command} has no table")
    entries = []
    for row in rows:
        try:
            entries.append(_cache_entry(typed.mapping(row)))
        except MALFORMED as error:
            skip(f"{command}: unexpected row ({type(error).__name__} {error}): {typed.brief(row, 200)}")
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A row of nhrpd's shortcuts. ``via``: the protocol address of the peer; ``None`` while it is being resolved."""

    prefix: Network
    via: Address | None


SHORTCUT_COMMANDS: Mapping[int, str] = {4: "show ip nhrp shortcut json", 6: "show ipv6 nhrp shortcut json"}


def parse_shortcuts(text: str, version: int = 4) -> tuple[Shortcut, ...]:
    """Read the output of ``SHORTCUT_COMMANDS[version]``; a row that cannot be read is left out.

    Raises ``FrrFormatError``.
    """
    rows = json_object(text, SHORTCUT_COMMANDS[version]).get("table")
    if not isinstance(rows, list):
        raise FrrFormatError(f"{SHORTCUT_COMMANDS[version]} has no table")
    shortcuts = []
    for row in rows:
        with suppress(*MALFORMED):
            via = row.get("via")
            shortcuts.append(
                Shortcut(
                    ip_network(typed.text(row["prefix"]), strict=False),
                    ip_address(typed.text(via)) if via and via != "-" else None,
                )
            )
    return tuple(shortcuts)


def _cache_entry(row: Mapping[str, Any]) -> CacheEntry:
    nbma = row.get("nbma")
    return CacheEntry(
        interface=typed.text(row["interface"]),
        binding_type=typed.text(row["type"]),
        protocol_address=ip_address(typed.text(row["protocol"])),
        nbma_address=ip_address(typed.text(nbma)) if nbma and nbma != "-" else None,
    )
