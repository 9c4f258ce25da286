"""The Unix socket that nhrpd connects to, as a client (``nhrp event socket PATH``), to ask who may join."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import structlog

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.authorizer import Authorizer, Later
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent, EventError, EventReader, answer
from dmvpn_agent.admission.waiting_requests import WaitingRequests
from dmvpn_agent.runtime.slices import in_slices
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import bind

log = structlog.get_logger()

#: nhrpd holds one connection, and for a moment a second one while it restarts.
MAX_CONNECTIONS = 8
#: Descriptors kept for nhrpd's connection if the process has no others left.
RESERVE = 2
#: nhrpd writes a message at once; a client that leaves one unfinished this long is not nhrpd.
MESSAGE_TIMEOUT = 10.0
WRITE_TIMEOUT = 5.0


class NhrpdSocket:
    """Serves nhrpd, which holds one connection and may have no request for hours.

    A few more connections are served too, each by itself: the answer goes to the connection that asked. If one more
    comes, one of the user and process with the most connections is closed, first one that has asked nothing.

    ``message_timeout``: seconds from the first byte of a message to its last. ``write_timeout``: seconds within which
    the client must read an answer. ``opened`` is called for each connection: nhrpd makes one after it has read its
    configuration.
    """

    def __init__(
        self,
        path: Path,
        authorizer: Authorizer,
        telemetry: Telemetry,
        opened: Callable[[], None] = lambda: None,
        *,
        message_timeout: float = MESSAGE_TIMEOUT,
        write_timeout: float = WRITE_TIMEOUT,
    ) -> None:
        self._path = path
        self._authorizer = authorizer
        self._telemetry = telemetry
        self._opened = opened
        self._message_timeout = message_timeout
        self._write_timeout = write_timeout
        self._server = StreamListener("events", self._connected, telemetry, limit=MAX_CONNECTIONS, reserve=RESERVE)
        self._started = False

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._server)

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` if another process answers on the path."""
        self._server.start(bind(self._path, mode=0o660))
        self._started = True

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if not self._started:
            return  # the path is not ours
        await self._server.stop()
        self._path.unlink(missing_ok=True)

    async def _connected(self, connection: Connection) -> None:
        outcome = "failed"
        waiting = WaitingRequests()
        user, process = connection.source
        log.info("event_connection_opened", uid=user, pid=process)
        self._opened()
        try:
            outcome = await self._serve(connection, waiting)
        except (ConnectionError, TimeoutError):
            outcome = "broken"
        except asyncio.CancelledError:
            outcome = "evicted" if connection.evicted else "stopped"
        except Exception:
            log.exception("event_connection_failed")
        finally:
            waiting.cancel_all()
        self._telemetry.increment(metrics.EVENT_CONNECTIONS, outcome)
        log.info("event_connection_closed", outcome=outcome, uid=user, pid=process)

    async def _serve(self, connection: Connection, waiting: WaitingRequests) -> str:
        events = EventReader()
        clock = asyncio.get_running_loop().time
        deadline: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    data = await connection.reader.read(65536)
            except TimeoutError:
                return "unfinished_message"
            if not data:
                return "closed_by_client"
            try:
                answered = await self._handle(events.feed(data), connection, waiting)
            except EventError as error:
                log.warning("event_stream_refused", why=str(error))
                return "message_too_long"
            if not events.unfinished:
                deadline = None
            elif deadline is None or answered:
                deadline = clock() + self._message_timeout

    async def _handle(
        self, events: Iterable[AuthorizeBinding | BadEvent], connection: Connection, waiting: WaitingRequests
    ) -> bool:
        """Handle the events of one read; return whether there was one."""
        handled = False
        reply = partial(_reply, connection.writer)
        async for event in in_slices(events):
            handled = True
            if isinstance(event, BadEvent):
                self._authorizer.handle(event, reply)
            else:
                connection.engaged = True
                waiting.cancel_earlier(event)
                later = self._authorizer.handle(event, reply, may_wait=waiting.has_room(event))
                if later is not None:
                    waiting.start(event, self._handle_later(later, connection.writer))
                    continue
            await self._drain(connection.writer)
        return handled

    async def _handle_later(self, later: Later, writer: asyncio.StreamWriter) -> None:
        try:
            await later()
            await self._drain(writer)
        except (ConnectionError, TimeoutError):
            writer.transport.abort()

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        """Wait for a client that does not read its answers. Raises ``ConnectionError``, ``TimeoutError``."""
        if writer.transport.get_write_buffer_size() and not writer.is_closing():
            async with asyncio.timeout(self._write_timeout):
                await writer.drain()


def _reply(writer: asyncio.StreamWriter, event_id: int, accept: bool) -> bool:
    if writer.is_closing():
        return False
    writer.write(answer(event_id, accept=accept))
    return True
