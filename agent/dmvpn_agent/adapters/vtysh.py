"""FRR by way of vtysh: reading configuration and state, writing changes.

``vtysh -c A -c B`` stops at the first command that fails and keeps what was before it. Some failures print no ``%``
and give status 0, and an empty table gives status 1, so the reconciler reads back what it wrote. One process at
a time: concurrent ones collide ("could not lock candidate DS").
"""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from dmvpn_agent.adapters.process import Completed, ProgramError, run
from dmvpn_agent.core.model import BindingType
from dmvpn_agent.core.plan import Change
from dmvpn_agent.core.policy import PEER_BINDINGS
from dmvpn_agent.service.frr import FrrRefused, FrrUnavailable, Snapshot
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
#: vtysh is done with a daemon that is not there.
NOT_RUNNING = "is not running"


class Vtysh:
    """The FRR of this node. ``program`` is vtysh's path or name."""

    def __init__(self, program: str, interface: str, as_number: int) -> None:
        self._program = program
        self._interface = interface
        self._as_number = as_number
        self._turn = asyncio.Lock()

    async def observe(self) -> Snapshot:
        """Read configuration and state. Raises ``FrrUnavailable``."""
        config = await self._run("bgpd", ("show running-config",))
        summary = await self._run("bgpd", ("show bgp ipv4 unicast summary json",))
        if config.status != 0 or "Current configuration" not in config.stdout:
            raise FrrUnavailable(f"bgpd gave no configuration: {_words(config)}")
        try:
            return Snapshot(
                config=parse_running_config(config.stdout),
                bound=await self._bound(),
                sessions=parse_bgp_summary(summary.stdout or "{}"),
            )
        except (FrrFormatError, ValueError) as error:
            raise FrrUnavailable(str(error)) from error

    async def _bound(self) -> frozenset[IPv4Address | IPv6Address] | None:
        # An empty table gives status 1, so only the output tells.
        cache = await self._run("nhrpd", ("show ip nhrp cache json",))
        try:
            entries = parse_nhrp_cache(cache.stdout)
        except FrrFormatError:
            return None
        return frozenset(
            entry.protocol_address
            for entry in entries
            if entry.interface == self._interface and entry.binding_type in PEER_BINDINGS - {BindingType.STATIC}
        )

    async def apply(self, changes: Sequence[Change]) -> None:
        """Write changes in their order. Raises ``FrrRefused`` at the first refused, ``FrrUnavailable``."""
        for start in range(0, len(changes), MAX_BATCH):
            lines = render(changes[start : start + MAX_BATCH], self._as_number)
            done = await self._run("bgpd", lines)
            if done.status != 0 or any(line.startswith("%") for line in done.stdout.splitlines()):
                if NOT_RUNNING in done.stdout + done.stderr:
                    raise FrrUnavailable(f"bgpd is not running: {_words(done)}")
                raise FrrRefused(_words(done))

    async def _run(self, daemon: str, lines: Sequence[str]) -> Completed:
        argv = [self._program, "-d", daemon, *(word for line in lines for word in ("-c", line))]
        async with self._turn:
            try:
                return await run(argv, timeout=TIMEOUT, max_output=MAX_OUTPUT)
            except ProgramError as error:
                raise FrrUnavailable(str(error)) from error


def _words(done: Completed) -> str:
    text = " ".join((done.stdout + " " + done.stderr).split())
    return f"{text[-300:] or 'no output'} (status {done.status})"
