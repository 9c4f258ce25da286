"""Accepting connections so that neither a flood nor a lack of descriptors keeps out nhrpd or an operator."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import structlog

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds without accepting after a failure: an immediate retry would use all of the CPU.
PAUSE = 0.2
#: Seconds for which the same failure is not logged again: under a flood every other attempt succeeds.
REPORT_INTERVAL = 60.0
#: Connections that are accepted before the event loop goes on.
BATCH = 16
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid

#: Where a connection comes from: user and process on this machine, or the address of another machine and 0.
Source = tuple[int | str, int]


def source_of(connection: socket.socket) -> Source:
    """Return where a connection comes from (unix(7), SO_PEERCRED); ``("", 0)`` if the other end has closed it."""
    with contextlib.suppress(OSError):
        if connection.family is socket.AF_UNIX:
            pid, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            return uid, pid
        return connection.getpeername()[0], 0
    return "", 0


class Held(Protocol):
    """A connection that may have to make room; ``engaged``: the client has sent a valid request."""

    @property
    def source(self) -> Source:
        """Where it comes from."""

    @property
    def engaged(self) -> bool:
        """Whether it has carried a valid request."""


H = TypeVar("H", bound=Held)


def makes_room(held: Sequence[H], newcomer: Source) -> H | None:
    """Return which of the held connections (oldest first) to close for a new one; ``None``: refuse the new one.

    The user with the most connections loses one, and of that user the process with the most: a client that opens many
    closes its own. The oldest unused connection goes first. If all are used, a newcomer of that process is refused.
    """
    sources = [connection.source for connection in held] + [newcomer]
    user = Counter(user for user, _ in sources).most_common(1)[0][0]
    most = Counter(source for source in sources if source[0] == user).most_common(1)[0][0]
    theirs = [connection for connection in held if connection.source == most]
    unused = next((connection for connection in theirs if not connection.engaged), None)
    return unused or (theirs[0] if newcomer != most else None)


class Acceptor:
    """Hands each connection on a listening socket to ``taken``, which returns whether it has room for more.

    If the process has no descriptor left, the acceptor uses one of ``reserve`` spare ones; without a spare one it
    pauses. ``name`` is the listener's in log and metrics.
    """

    def __init__(
        self, name: str, taken: Callable[[socket.socket], bool], telemetry: Telemetry, *, reserve: int = 0
    ) -> None:
        self._name = name
        self._taken = taken
        self._telemetry = telemetry
        self._reserve = reserve
        self._kept: list[int] = []
        self._listener: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._trouble = Trouble(REPORT_INTERVAL)

    def start(self, listener: socket.socket) -> None:
        """Accept connections on a listening socket."""
        listener.setblocking(False)
        self._listener = listener
        self._resume()

    def stop(self) -> None:
        """Stop accepting; the socket stays open."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener = None
        while self._kept:
            os.close(self._kept.pop())

    def _resume(self) -> None:
        self._timer = None
        self._keep_aside()
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _keep_aside(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._kept) < self._reserve:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def _accept(self, listener: socket.socket) -> None:
        self._keep_aside()
        for _ in range(BATCH):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:
                self._failed(error)
                if error.errno not in {errno.EMFILE, errno.ENFILE} or not self._kept:
                    self._pause(listener)
                    return
                os.close(self._kept.pop())  # for the next attempt, which follows at once
                continue
            if not self._taken(connection):
                return

    def _failed(self, error: OSError) -> None:
        self._telemetry.increment(metrics.ACCEPT_FAILURES, self._name)
        if self._trouble.is_new(error.strerror):
            log.error("accept_failed", listener=self._name, why=error.strerror,
                      do="allow the process more descriptors (systemd: LimitNOFILE=; OpenRC: rc_ulimit)")  # fmt: skip

    def _pause(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        self._timer = loop.call_later(PAUSE, self._resume)
