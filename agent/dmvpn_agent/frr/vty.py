"""FRR's command line by the daemons' vty sockets, ``/run/frr/<daemon>.vty``, in vtysh's own protocol.

A command is its text and a NUL. A reply is text without NUL, three NULs and a status byte. FRR reads a command that
is too long in pieces and runs the last piece as a command; and it may discard a command that arrives before the reply
to the previous one. So commands are short, and one is in flight at a time.

A connection begins in view mode. When it ends, for whatever reason, FRR leaves configuration mode and keeps the lines
that were written. Each run has its own connection, which costs 0.1 ms: it inherits neither the mode nor the rest of
a reply of an earlier run, and it finds a daemon that has restarted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dmvpn_agent.frr.terminal import NotConnected, Reply, TerminalError

TIMEOUT = 15.0
MAX_REPLY = 32 << 20
#: FRR's own limit is 4095 with the NUL (8.4), or more.
MAX_COMMAND = 1024
TERMINATOR = b"\0\0\0"


class VtySockets:
    """The vty sockets in a directory. ``timeout``: seconds for one run. ``max_reply``: bytes of one reply."""

    name = "vty"

    def __init__(self, directory: Path, timeout: float = TIMEOUT, max_reply: int = MAX_REPLY) -> None:
        self._directory = directory
        self._timeout = timeout
        self._max_reply = max_reply
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        """Run commands in one daemon, up to the first with a status.

        Raises ``NotConnected``; ``TerminalError`` if a reply is late, cut off or too long, in which case FRR may have
        run the command in flight; ``ValueError`` for a line that is not a single command.
        """
        commands = [_command(line) for line in ("enable", *lines)]
        async with self._locks[daemon]:
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._converse(daemon, commands)
            except TimeoutError:
                raise TerminalError(f"{daemon} did not answer within {self._timeout:g} s") from None
            except (asyncio.IncompleteReadError, ConnectionError):
                raise TerminalError(
                    f"{daemon} closed the connection before the end of its answer; was it stopped?"
                ) from None
            except asyncio.LimitOverrunError:
                raise TerminalError(f"{daemon} answered with more than {self._max_reply} bytes") from None

    async def _converse(self, daemon: str, commands: Sequence[bytes]) -> Reply:
        reader, writer = await self._open(daemon)
        try:
            texts = []
            for command in commands:
                writer.write(command)
                text = await reader.readuntil(TERMINATOR)
                status = (await reader.readexactly(1))[0]
                texts.append(text.removesuffix(TERMINATOR).decode(errors="replace"))
                if status != 0:
                    break
            return Reply(status, "".join(texts), framed=True)
        finally:
            writer.transport.abort()

    async def _open(self, daemon: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = self._directory / f"{daemon}.vty"
        try:
            return await asyncio.open_unix_connection(path, limit=self._max_reply)
        except OSError as error:
            raise NotConnected(
                f"{daemon} is not running, or its vty socket {path} may not be opened (group frrvty):"
                f" {error.strerror or error}"
            ) from error


def _command(line: str) -> bytes:
    encoded = line.encode()
    if len(encoded) > MAX_COMMAND or not line.isprintable():
        raise ValueError(f"not a single command of at most {MAX_COMMAND} bytes: {line!r:.200}")
    return encoded + b"\0"
