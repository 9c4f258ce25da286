"""FRR's command line, by whichever way it is reached."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

log = structlog.get_logger()


class TerminalError(Exception):
    """A daemon gave no whole answer. Of what was sent, some may have been done; the text names the daemon."""


class NotConnected(TerminalError):
    """This way to the daemon is closed, and nothing was sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What lines printed, and the status of the last one that was run: 0 where it was taken without complaint.

    A status other than 0 is no failure by itself: an empty table has one in some versions. ``framed``: the way to the
    daemon tells where an answer ends, so that the text cannot be cut off.
    """

    status: int
    text: str
    errors: str = ""
    framed: bool = field(default=False, compare=False)

    def last_output(self) -> str:
        """Return the end of what was printed on one line, for people."""
        text = " ".join(f"{self.text} {self.errors}".split())
        return f"{text[-300:] or 'no output'} (status {self.status})"


class Terminal(Protocol):
    """A way to the daemons' command lines; each run begins in enable mode."""

    @property
    def name(self) -> str:
        """Return the word for this way in the log and the status."""

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        """Give lines to one daemon, up to the first that has a status. Raises ``TerminalError``, ``NotConnected``."""


class WithFallback:
    """The first of two ways, and the second where the first is not there. Says which, where that changes.

    Only for reading: what was to be written once must not go to both. ``used`` has the name of the way by daemon.
    """

    name = "either"

    def __init__(self, first: Terminal, second: Terminal) -> None:
        self._first = first
        self._second = second
        self.used: dict[str, str] = {}

    async def run(self, daemon: str, lines: Sequence[str]) -> Reply:
        """Give lines to one daemon, as ``Terminal`` does."""
        try:
            reply = await self._first.run(daemon, lines)
        except NotConnected as closed:
            reply = await self._second.run(daemon, lines)
            self._say(daemon, self._second.name, why=str(closed))
        else:
            self._say(daemon, self._first.name)
        return reply

    def _say(self, daemon: str, name: str, **why: str) -> None:
        if self.used.get(daemon) != name:
            self.used[daemon] = name
            log.info("frr_read_by", daemon=daemon, by=name, **why)
