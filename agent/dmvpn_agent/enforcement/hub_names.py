"""Has nhrpd resolve a hub's DNS name again: by itself it does that after two hours.

The only way is to remove the hub's line from nhrpd's running configuration and to add it again, in one run: nhrpd
then resolves the name after a second. The agent does that only if the hub has been out of reach for a while and its
name has other addresses now.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Set
from ipaddress import IPv4Address

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.enforcement import metrics
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.frr.terminal import Terminal, TerminalError
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds for the resolver.
TIMEOUT = 5.0
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_LINE = re.compile(rf" +((?:ip|ipv6) nhrp nhs (?:dynamic|[0-9A-Fa-f.:]+) nbma ({_NAME})(?: priority [0-9]+)?)")

#: Returns a name's addresses, none if it has none now.
Resolve = Callable[[str], Awaitable[Set[Address]]]


async def resolve(name: str) -> Set[Address]:
    """Return a name's IPv4 addresses by the system's resolver, none if they cannot be found out."""
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET)
    except (OSError, UnicodeError, TimeoutError):
        return frozenset()
    return frozenset(IPv4Address(address[0]) for *_, address in found)


class HubNames:
    """``reader`` and ``writer``: access to nhrpd. In a ``dry_run`` a change is only logged."""

    def __init__(
        self,
        reader: Terminal,
        writer: Terminal,
        telemetry: Telemetry,
        *,
        resolver: Resolve = resolve,
        dry_run: bool = False,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._telemetry = telemetry
        self._resolve = resolver
        self._dry_run = dry_run

    async def check(self, hub: Hub) -> bool:
        """Have nhrpd resolve a hub's name again if it has moved; return whether that was done."""
        if not re.fullmatch(_NAME, hub.name):
            return False
        addresses = await self._resolve(hub.name)
        if not addresses or hub.nbma_address in addresses:
            return False
        about = {"interface": hub.interface, "name": hub.name, "before": str(hub.nbma_address),
                 "now": sorted(map(str, addresses))}  # fmt: skip
        if self._dry_run:
            log.info("would_resolve_hub_again", **about)
            return False
        try:
            done = await self._add_again(hub)
        except TerminalError as error:
            self._telemetry.increment(metrics.HUB_NAMES, "failed")
            log.warning("hub_not_resolved_again", **about, why=str(error))
            return False
        if done:
            self._telemetry.increment(metrics.HUB_NAMES, "resolved")
            log.warning("hub_resolved_again", **about, why="nhrpd looks only every two hours")
        return done

    async def _add_again(self, hub: Hub) -> bool:
        configuration = await self._reader.run("nhrpd", ("show running-config",))
        lines = _lines(configuration.text, hub)
        if not lines:
            return False
        both = (command for line in lines for command in (f"no {line}", line))
        await self._writer.run("nhrpd", ("configure terminal", f"interface {hub.interface}", *both))
        return True


def _lines(configuration: str, hub: Hub) -> list[str]:
    """Return the lines of a hub in nhrpd's running configuration."""
    found, inside = [], False
    for line in configuration.splitlines():
        if not line.startswith(" "):
            inside = line.rstrip() == f"interface {hub.interface}"
        elif inside and (match := _LINE.fullmatch(line.rstrip())) and match[2] == hub.name:
            found.append(match[1])
    return found
