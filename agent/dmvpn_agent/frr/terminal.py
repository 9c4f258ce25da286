"""FRR's command line: what vtysh and the vty sockets have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

log = structlog.get_logger()


class TerminalError(Exception):
    """A daemon gave no complete answer, and may have run some of the commands; the text names the daemon."""


class NotConnected(TerminalError):
    """There is no connection to the daemon; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The output of a run of commands, and the status of the last one: 0 for success.

    A status other than 0 is not always a failure: in some versions an empty table has one. ``framed``: the protocol
    marks the end of the output, so the text is complete.
    """

    status: int
    text: str
    errors: str = ""
    framed: bool = field(default=False, compare=False)

    def last_output(self) -> str:
        """Return the end of the output on one line, for messages."""
        text = " ".join(f"{self.text} {self.errors}".split())
        return f"{text[-300:] or 'no output'} (status {self.status})"


class Terminal(Protocol):
    """Access to the daemons' command lines; each run begins in enable mode."""

    @property
    def name(self) -> str:
        """Return the name in the log and the status, ``vtysh`` or ``vty``."""

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        """Run commands in one daemon, up to the first with a status. Raises ``TerminalError``, ``NotConnected``."""


class WithFallback:
    """Uses a second terminal while the first has no connection; logs which one it uses when that changes.

    For reading only: a write must not be sent by both. ``used``: the name of the terminal in use, by daemon.
    """

    name = "fallback"

    def __init__(self, first: Terminal, second: Terminal) -> None:
        self._first = first
        self._second = second
        self.used: dict[str, str] = {}

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        """Run commands in one daemon, as ``Terminal`` does."""
        try:
            reply = await self._first.run(daemon, lines)
        except NotConnected as error:
            reply = await self._second.run(daemon, lines)
            self._log(daemon, self._second.name, why=str(error))
        else:
            self._log(daemon, self._first.name)
        return reply

    def _log(self, daemon: str, name: str, **why: str) -> None:
        if self.used.get(daemon) != name:
            self.used[daemon] = name
            log.info("frr_read_by", daemon=daemon, by=name, **why)
