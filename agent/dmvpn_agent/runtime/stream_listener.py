"""Serving a limited number of connections by asyncio streams."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import structlog

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.acceptor import Acceptor, Source, makes_room, source_of
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds in which a client must complete the handshake of TLS.
HANDSHAKE_TIMEOUT = 10.0


class Connection:
    """One open connection; its handler sets ``engaged`` when the client has sent a valid request."""

    def __init__(self, accepted: socket.socket) -> None:
        self.source: Source = source_of(accepted)
        self.engaged = False
        self.evicted = False
        self.reader = asyncio.StreamReader()
        self.writer: asyncio.StreamWriter
        self._socket = accepted
        self._opening = False
        self._transport: asyncio.Transport | None = None

    async def open(self, tls: ssl.SSLContext | None) -> None:
        """Create its reader and writer."""
        loop = asyncio.get_running_loop()
        self._opening = True
        protocol = asyncio.StreamReaderProtocol(self.reader)
        self._transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, self._socket, ssl=tls, ssl_handshake_timeout=HANDSHAKE_TIMEOUT if tls else None
        )
        self.writer = asyncio.StreamWriter(self._transport, protocol, self.reader, loop)

    async def closed_by_client(self) -> None:
        """Wait until the client has read everything and closes; discard what it sends."""
        while await self.reader.read(65536):
            pass

    def close(self) -> None:
        """Close it at once, without waiting for the client."""
        if self._transport is not None:
            with contextlib.suppress(AttributeError):  # of Python 3.11, after the end of a connection with TLS
                self._transport.abort()
        elif not self._opening:  # otherwise asyncio closes it when ``open`` is cancelled
            self._socket.close()


Handler = Callable[[Connection], Awaitable[None]]


def _plain() -> None:
    return None


def _ignored(_: str, __: str) -> None:
    return None


class StreamListener:
    """Serves at most ``limit`` connections at once: runs ``handler`` for each in its own task, then closes it.

    At most ``limit_each`` of them come from one source. A handler that raises, or is cancelled, closes its own
    connection only. ``reserve``: as in ``Acceptor``. ``tls``
    returns how to do TLS on the next connection, if at all; if it raises ``OSError`` the connection is closed.
    ``tls_failed`` is called with the client's address, and what is wrong with its TLS.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        telemetry: Telemetry,
        *,
        limit: int,
        limit_each: int | None = None,
        reserve: int = 0,
        tls: Callable[[], ssl.SSLContext | None] = _plain,
        tls_failed: Callable[[str, str], None] = _ignored,
    ) -> None:
        self._name = name
        self._tls_failed = tls_failed
        self._tls = tls
        self._handler = handler
        self._telemetry = telemetry
        self._limit = limit
        self._limit_each = limit_each or limit
        self._acceptor = Acceptor(name, self._taken, telemetry, reserve=reserve)
        self._listener: socket.socket | None = None
        self._open: dict[Connection, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    def start(self, listener: socket.socket) -> None:
        """Serve on a listening socket; ``stop`` closes it."""
        self._listener = listener
        self._acceptor.start(listener)

    async def stop(self) -> None:
        """Close the socket and all connections."""
        self._acceptor.stop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        tasks = tuple(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _taken(self, accepted: socket.socket) -> bool:
        connection = Connection(accepted)
        theirs = [one for one in self._open if one.source == connection.source]
        full = len(self._open) >= self._limit
        rivals = tuple(self._open) if full else theirs
        if (full or len(theirs) >= self._limit_each) and not self._make_room(connection, rivals):
            connection.close()
            return True
        task = asyncio.create_task(self._serve(connection))
        self._open[connection] = task
        task.add_done_callback(lambda _: self._ended(connection))
        return not full  # the evicted connection frees its descriptor only when the loop goes on

    def _make_room(self, newcomer: Connection, rivals: Sequence[Connection]) -> bool:
        leaves = makes_room(rivals, newcomer.source)
        self._telemetry.increment(metrics.CONNECTIONS_REFUSED, self._name, "evicted" if leaves else "refused")
        if leaves is None:
            return False
        leaves.evicted = True
        self._open.pop(leaves).cancel()
        leaves.close()  # at once: its descriptor may be needed before the task runs
        return True

    def _ended(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        connection.close()  # also if the task never ran

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.open(self._tls())
            await self._handler(connection)
        except ssl.SSLError as error:
            self._tls_failed(str(connection.source[0]), error.reason or str(error))
        except (OSError, TimeoutError):
            return  # the client has closed, or does not read
        except Exception:
            log.exception("connection_failed", listener=self._name)
