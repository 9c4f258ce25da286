"""What setup needs of a running machine besides its files: commands, kernel values, sockets."""

import asyncio
import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from dmvpn_agent.runtime.program import Completed, ProgramError, run

TIMEOUT = 120.0
MAX_OUTPUT = 4 << 20
_POLL = 0.2


class MachineError(Exception):
    """A command failed, or a service does not serve; the text says which, and what it printed."""


class Machine:
    """Runs commands, reads and writes /proc/sys, and waits for sockets."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    async def run(self, argv: Sequence[str], stdin: str = "") -> Completed:
        """Run a command. Raises ``MachineError`` if it cannot be started or does not end."""
        try:
            return await run((found(argv[0]), *argv[1:]), stdin=stdin, timeout=TIMEOUT, max_output=MAX_OUTPUT)
        except ProgramError as error:
            raise MachineError(str(error)) from None

    async def must(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a command and return its output. Raises ``MachineError`` for another status than 0."""
        done = await self.run(argv, stdin)
        if done.status:
            printed = (done.stderr.strip() or done.stdout.strip())[-500:]
            raise MachineError(f"{' '.join(argv)}: status {done.status}: {printed}")
        return done.stdout

    def sysctl(self, name: str) -> str | None:
        """Return a kernel value, ``None`` if the kernel has none of this name."""
        try:
            return (self._proc / "sys" / name).read_text().strip()
        except OSError:
            return None

    def set_sysctl(self, name: str, value: str) -> None:
        """Set a kernel value. Raises ``MachineError``."""
        try:
            (self._proc / "sys" / name).write_text(value)
        except OSError as error:
            raise MachineError(f"/proc/sys/{name} cannot be set to {value}: {error.strerror}") from None

    async def serves(self, path: str, seconds: float) -> bool:
        """Wait until a Unix socket accepts a connection; return false if it does not in time."""
        deadline = time.monotonic() + seconds
        while not _accepts(path):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL)
        return True


def found(program: str) -> str:
    """Return the path of a program, also if PATH is a user's, without sbin; its name if there is none."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(program, path=path) or program


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(path)
        except OSError:
            return False
    return True
