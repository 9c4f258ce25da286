"""What a node by hand may still lack: values in the files to start from, names of hubs that DNS knows, an order."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dmvpn_agent.frr.nhrp_cache import CACHE_COMMANDS, parse_nhrp_cache
from dmvpn_agent.frr.nhs_table import NHS_COMMANDS, parse_nhs_table
from dmvpn_agent.frr.terminal import Terminal
from dmvpn_agent.runtime.placeholders import placeholders

#: The files of frr/, swanctl/ and deploy/ with placeholders, as docs/by-hand.md installs them, besides agent.toml.
FILES = (
    "frr/frr.conf",
    "frr/*d.conf",
    "swanctl/conf.d/*.conf",
    "strongswan.d/*.conf",
    "network/interfaces.d/*",
    "systemd/network/*",
)
_LONGEST = 1 << 20


async def read_placeholders(etc: Path = Path("/etc")) -> tuple[str, ...]:
    """Return where placeholders are left, as ``/etc/frr/frr.conf, line 7: @AS_NUMBER@``. Raises ``OSError``."""
    return await asyncio.to_thread(lambda: tuple(_left(etc)))


def _left(etc: Path) -> Iterator[str]:
    for pattern in FILES:
        for file in sorted(etc.glob(pattern)):
            if file.is_file():
                with suppress(FileNotFoundError), file.open("rb") as stream:
                    text = stream.read(_LONGEST).decode(errors="replace")
                    yield from (f"{file}, {line}" for line in placeholders(text))


async def unresolved_hubs(nhrpd: Terminal) -> dict[str, str]:
    """Return the names of hubs that nhrpd has not resolved, each with ``why_unresolved``.

    Raises ``TerminalError`` and ``FrrFormatError``.
    """
    names: dict[str, None] = {}
    for version, command in NHS_COMMANDS.items():
        rows = parse_nhs_table((await nhrpd.run("nhrpd", (command,))).text, lambda _: None, version)
        names |= dict.fromkeys(row.name for row in rows if row.nbma_address is None)
    return {name: await why_unresolved(name) for name in names}


async def mutual_hubs(nhrpd: Terminal) -> tuple[str, ...]:
    """Return the protocol addresses of the hubs that have registered here, and that have not taken a registration.

    Raises ``TerminalError`` and ``FrrFormatError``.
    """
    found: list[str] = []
    for version, command in NHS_COMMANDS.items():
        hubs = parse_nhs_table((await nhrpd.run("nhrpd", (command,))).text, lambda _: None, version)
        refused = {(hub.interface, hub.nbma_address) for hub in hubs if hub.protocol_address is None}
        cache = parse_nhrp_cache((await nhrpd.run("nhrpd", (CACHE_COMMANDS[version],))).text, lambda _: None, version)
        found += [
            str(entry.protocol_address)
            for entry in cache
            if entry.binding_type == "dynamic" and (entry.interface, entry.nbma_address) in refused
        ]
    return tuple(found)


async def why_unresolved(name: str) -> str:
    """Return why this machine finds no IPv4 address of a name; empty if it finds one."""
    try:
        await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""
