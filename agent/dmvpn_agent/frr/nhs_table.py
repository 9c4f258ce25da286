"""nhrpd's next hop servers, from ``show ip nhrp nhs json``: the hubs that this node registers with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.frr.show_json import raise_format_error, shown_address, table_rows
from dmvpn_agent.runtime import json_values as typed

#: The commands that show them, by the IP version of the protocol addresses.
NHS_COMMANDS: Mapping[int, str] = {4: "show ip nhrp nhs json", 6: "show ipv6 nhrp nhs json"}


@dataclass(frozen=True, slots=True)
class Nhs:
    """A row. ``name``: its NBMA address as configured, which may be a DNS name.

    ``nbma_address`` is ``None`` while nhrpd has not resolved the name. ``protocol_address`` is ``None`` if it is
    ``dynamic``, or while nhrpd is not registered.
    """

    interface: str
    name: str
    nbma_address: Address | None
    protocol_address: Address | None


def parse_nhs_table(text: str, skip: Callable[[str], None] = raise_format_error, version: int = 4) -> tuple[Nhs, ...]:
    """Read the output of ``NHS_COMMANDS[version]``; ``skip`` as for ``table_rows``. Raises ``FrrFormatError``."""
    return table_rows(text, NHS_COMMANDS[version], _nhs, skip)


def _nhs(row: Mapping[str, Any]) -> Nhs:
    return Nhs(
        interface=typed.text(row["interface"]),
        name=typed.text(row["fqdn"]),
        nbma_address=shown_address(typed.text(row["nbma"])),
        protocol_address=shown_address(typed.text(row["protocol"])),
    )
