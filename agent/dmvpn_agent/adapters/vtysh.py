"""FRR by way of vtysh: reading configuration and state, writing changes.

``vtysh -c A -c B`` stops at the first command that fails and keeps what was before it. Some failures print no ``%``
and give status 0, and an empty table gives status 1, so the reconciler reads back what it wrote. One process at
a time: concurrent ones collide ("could not lock candidate DS").
"""

import asyncio
from collections.abc import Collection, Sequence

from dmvpn_agent.adapters.process import Completed, ProgramError, run
from dmvpn_agent.core.model import Address
from dmvpn_agent.core.plan import Change
from dmvpn_agent.core.standing import PEER_BINDINGS
from dmvpn_agent.service.bgpd import FrrRefused, FrrUnavailable, Snapshot
from dmvpn_agent.service.bindings import NhrpdUnavailable
from dmvpn_agent.wire.frr import (
    FrrFormatError,
    parse_bgp_summary,
    parse_nhrp_cache,
    parse_running_config,
    render,
)

TIMEOUT = 15.0
MAX_OUTPUT = 32 << 20
#: Keeps the argument list well under the kernel's limit of 2 MiB.
MAX_BATCH = 500


class Vtysh:
    """Runs vtysh, one process at a time. ``program`` is its path or name; ``timeout`` is seconds for one run."""

    def __init__(self, program: str, timeout: float = TIMEOUT) -> None:
        self._program = program
        self._timeout = timeout
        self._turn = asyncio.Lock()

    async def run(self, daemon: str, lines: Sequence[str]) -> Completed:
        """Give lines to one daemon. Raises ``ProgramError``; a command that failed is for the caller to see."""
        argv = [self._program, "-d", daemon, *(word for line in lines for word in ("-c", line))]
        async with self._turn:
            done = await run(argv, timeout=self._timeout, max_output=MAX_OUTPUT)
        if "failed to connect to any daemons" in done.stdout + done.stderr:
            raise ProgramError(f"{daemon} is not running, or its vty socket may not be opened (group frrvty)")
        return done


class VtyshBgpd:
    """bgpd's configuration and sessions; writes in the BGP instance ``as_number``."""

    def __init__(self, vtysh: Vtysh, as_number: int) -> None:
        self._vtysh = vtysh
        self._as_number = as_number

    async def observe(self) -> Snapshot:
        """Read configuration and sessions. Raises ``FrrUnavailable``."""
        config = await self._run(("show running-config",))
        summary = await self._run(("show bgp ipv4 unicast summary json",))
        if config.status != 0 or "Current configuration" not in config.stdout:
            raise FrrUnavailable(f"bgpd gave no configuration: {_words(config)}")
        try:
            return Snapshot(parse_running_config(config.stdout), parse_bgp_summary(summary.stdout or "{}"))
        except (FrrFormatError, ValueError, TypeError) as error:
            raise FrrUnavailable(f"bgpd's answer is not as known: {error}") from error

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write changes in their order. Raises ``FrrRefused`` at the first refused, ``FrrUnavailable``."""
        for start in range(0, len(changes), MAX_BATCH):
            done = await self._run(render(changes[start : start + MAX_BATCH], self._as_number))
            if done.status != 0 or any(line.startswith("%") for line in done.stdout.splitlines()):
                raise FrrRefused(_words(done))

    async def _run(self, lines: Sequence[str]) -> Completed:
        try:
            return await self._vtysh.run("bgpd", lines)
        except ProgramError as error:
            raise FrrUnavailable(str(error)) from error


class VtyshNhrpd:
    """nhrpd's cache on the tunnel interfaces."""

    def __init__(self, vtysh: Vtysh, interfaces: Collection[str]) -> None:
        self._vtysh = vtysh
        self._interfaces = interfaces

    async def bound(self) -> frozenset[Address]:
        """Return the protocol addresses of the peers in its cache. Raises ``NhrpdUnavailable``."""
        # An empty table gives status 1, so only the output tells.
        try:
            cache = await self._vtysh.run("nhrpd", ("show ip nhrp cache json",))
            entries = parse_nhrp_cache(cache.stdout)
        except ProgramError as error:
            raise NhrpdUnavailable(str(error)) from error
        except FrrFormatError as error:
            raise NhrpdUnavailable(f"{error}; vtysh said: {_words(cache)}") from error
        return frozenset(
            entry.protocol_address
            for entry in entries
            if entry.interface in self._interfaces and entry.binding_type in PEER_BINDINGS
        )


def _words(done: Completed) -> str:
    text = " ".join((done.stdout + " " + done.stderr).split())
    return f"{text[-300:] or 'no output'} (status {done.status})"
