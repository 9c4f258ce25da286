"""The Unix socket that nhrpd connects to, as a client, to ask who may join (``nhrp event socket PATH``)."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import structlog

from dmvpn_agent.adapters.unix import listen
from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Accept
from dmvpn_agent.service.authorizer import Authorizer
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.nhrp_event import AuthorizeBinding, BadEvent, EventError, EventReader, answer

log = structlog.get_logger()

MAX_CONNECTIONS = 8
#: nhrpd writes a message at once; a client that leaves one unfinished this long is not nhrpd.
UNFINISHED_TIMEOUT = 10.0
WRITE_TIMEOUT = 5.0


class NhrpdSocket:
    """Serves nhrpd's questions. nhrpd holds one connection; a few more are allowed for its restart."""

    def __init__(self, path: Path, authorizer: Authorizer, telemetry: Telemetry) -> None:
        self._path = path
        self._authorizer = authorizer
        self._telemetry = telemetry
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` where another process answers on the path."""
        self._server = await listen(self._path, self._connected, mode=0o660)

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if len(self._connections) >= MAX_CONNECTIONS or task is None:
            self._telemetry.increment(metrics.EVENT_CONNECTIONS, "refused")
            writer.close()
            return
        self._connections.add(task)
        try:
            outcome = await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            outcome = "broken"
        except asyncio.CancelledError:
            outcome = "stopped"
        finally:
            self._connections.discard(task)
            writer.close()
        self._telemetry.increment(metrics.EVENT_CONNECTIONS, outcome)
        log.info("event_connection_closed", outcome=outcome)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        log.info("event_connection_opened")
        events = EventReader()
        while True:
            try:
                async with asyncio.timeout(UNFINISHED_TIMEOUT if events.unfinished else None):
                    data = await reader.read(65536)
            except TimeoutError:
                return "unfinished_message"
            if not data:
                return "closed_by_client"
            try:
                await self._answer(events.feed(data), writer)
            except EventError as error:
                log.warning("event_stream_refused", why=str(error))
                return "message_too_long"

    async def _answer(self, events: Iterable[AuthorizeBinding | BadEvent], writer: asyncio.StreamWriter) -> None:
        for event in events:
            judgement = self._authorizer.decide(event)
            if event.event_id is not None:
                writer.write(answer(event.event_id, accept=isinstance(judgement.decision, Accept)))
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await writer.drain()
            self._authorizer.settle(judgement)
