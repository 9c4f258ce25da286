"""FRR's command line by vtysh.

``vtysh -c A -c B`` stops at the first command that fails; the ones before it stay in force. Some failures print no
``%`` and have status 0, and an empty table has status 1, so the reconciler reads back what it wrote. If a daemon is
killed during ``show running-config``, vtysh prints half of it with an ``end`` and status 0. Only one vtysh runs at a
time: concurrent ones collide ("could not lock candidate DS").
"""

import asyncio
from collections.abc import Sequence

from dmvpn_agent.frr.terminal import Reply, TerminalError
from dmvpn_agent.runtime.program import ProgramError, run

TIMEOUT = 15.0
MAX_OUTPUT = 32 << 20


class Vtysh:
    """Runs vtysh, one process at a time. ``program``: path or name. ``timeout``: seconds for one run."""

    name = "vtysh"

    def __init__(self, program: str, timeout: float = TIMEOUT) -> None:
        self._program = program
        self._timeout = timeout
        self._lock = asyncio.Lock()

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        """Run commands in one daemon. Raises ``TerminalError``; the caller checks for commands that failed."""
        argv = [self._program, "-d", daemon, *(word for line in lines for word in ("-c", line))]
        try:
            async with self._lock:
                done = await run(argv, timeout=self._timeout, max_output=MAX_OUTPUT)
        except ProgramError as error:
            raise TerminalError(str(error)) from error
        printed = done.stdout + done.stderr
        if "failed to connect to any daemons" in printed:
            raise TerminalError(f"{daemon} is not running, or its vty socket may not be opened (group frrvty)")
        if "because of an I/O error" in printed:
            raise TerminalError(f"{daemon} closed the connection before the end of its answer; was it stopped?")
        return Reply(done.status, done.stdout, done.stderr)
