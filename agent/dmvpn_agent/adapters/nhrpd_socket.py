"""The Unix socket that nhrpd connects to, as a client, to ask who may join (``nhrp event socket PATH``)."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from dmvpn_agent.adapters.unix import listen
from dmvpn_agent.core import metrics
from dmvpn_agent.core.model import Accept, Address
from dmvpn_agent.service.authorizer import Authorizer
from dmvpn_agent.service.judgement import Judgement
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.nhrp_event import AuthorizeBinding, BadEvent, EventError, EventReader, answer

log = structlog.get_logger()

MAX_CONNECTIONS = 8
#: nhrpd writes a message at once; a client that leaves one unfinished this long is not nhrpd.
MESSAGE_TIMEOUT = 10.0
WRITE_TIMEOUT = 5.0
#: Questions whose answers wait for charon; one more is answered by what is known.
MAX_WAITING = 256

#: What a question is about: interface and protocol address.
Binding = tuple[str, Address]


def _binding(event: AuthorizeBinding) -> Binding:
    return event.request.interface, event.request.protocol_address


class NhrpdSocket:
    """Serves nhrpd's questions. nhrpd holds one connection; a few more are allowed for its restart.

    ``record`` is given each message and what was decided, after the answer.
    ``message_timeout``: seconds from the first byte of a message to its last. ``write_timeout``: seconds within which
    an answer must be taken. ``opened`` is called for each connection: nhrpd makes one when it has read its
    configuration.
    """

    def __init__(
        self,
        path: Path,
        authorizer: Authorizer,
        telemetry: Telemetry,
        record: Callable[[bytes, Judgement], None] = lambda *_: None,
        *,
        message_timeout: float = MESSAGE_TIMEOUT,
        write_timeout: float = WRITE_TIMEOUT,
    ) -> None:
        self._path = path
        self._authorizer = authorizer
        self._telemetry = telemetry
        self._record = record
        self._message_timeout = message_timeout
        self._write_timeout = write_timeout
        self._server: asyncio.Server | None = None
        self.opened: Callable[[], None] = lambda: None
        self._connections: set[asyncio.Task[None]] = set()
        self._waiting: dict[Binding, asyncio.Task[None]] = {}

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` where another process answers on the path."""
        self._server = await listen(self._path, self._connected, mode=0o660)

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self._server is None:
            return  # the path is not ours
        self._server.close()
        tasks = (*self._connections, *self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if len(self._connections) >= MAX_CONNECTIONS or task is None:
            self._telemetry.increment(metrics.EVENT_CONNECTIONS, "refused")
            log.warning("event_connection_refused", why=f"{len(self._connections)} are open; nhrpd needs one")
            writer.close()
            return
        self._connections.add(task)
        outcome = "failed"
        try:
            outcome = await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            outcome = "broken"
        except asyncio.CancelledError:
            outcome = "stopped"
        except Exception:
            log.exception("event_connection_failed")
        finally:
            self._connections.discard(task)
            # Not close(): that would wait, without end, for a client that does not read.
            writer.transport.abort()
        self._telemetry.increment(metrics.EVENT_CONNECTIONS, outcome)
        log.info("event_connection_closed", outcome=outcome)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        log.info("event_connection_opened")
        self.opened()
        events = EventReader()
        clock = asyncio.get_running_loop().time
        deadline: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    data = await reader.read(65536)
            except TimeoutError:
                return "unfinished_message"
            if not data:
                return "closed_by_client"
            try:
                answered = await self._answer(events.feed(data), writer)
            except EventError as error:
                log.warning("event_stream_refused", why=str(error))
                return "message_too_long"
            if not events.unfinished:
                deadline = None
            elif deadline is None or answered:
                deadline = clock() + self._message_timeout

    async def _answer(self, events: Iterable[AuthorizeBinding | BadEvent], writer: asyncio.StreamWriter) -> bool:
        answered = False
        for event in events:
            answered = True
            if isinstance(event, AuthorizeBinding):
                # nhrpd forgets an earlier question about the binding: its decision must not come after this one's.
                if (earlier := self._waiting.pop(_binding(event), None)) is not None:
                    earlier.cancel()
                if self._authorizer.must_ask(event) and len(self._waiting) < MAX_WAITING:
                    # The questions after it do not wait with it: nhrpd knows the answers by their numbers.
                    self._waiting[_binding(event)] = asyncio.create_task(self._answer_late(event, writer))
                    continue
            await self._conclude(event, self._authorizer.decide(event), writer)
        return answered

    async def _answer_late(self, event: AuthorizeBinding, writer: asyncio.StreamWriter) -> None:
        try:
            await self._conclude(event, await self._authorizer.consider(event), writer)
        except (ConnectionError, TimeoutError):
            writer.transport.abort()
        finally:
            if self._waiting.get(_binding(event)) is asyncio.current_task():
                del self._waiting[_binding(event)]

    async def _conclude(
        self, event: AuthorizeBinding | BadEvent, judgement: Judgement, writer: asyncio.StreamWriter
    ) -> None:
        if event.event_id is not None:
            if writer.is_closing():
                return  # nhrpd has forgotten the question with its connection
            writer.write(answer(event.event_id, accept=isinstance(judgement.decision, Accept)))
            if writer.transport.get_write_buffer_size():  # nhrpd does not keep up
                async with asyncio.timeout(self._write_timeout):
                    await writer.drain()
        self._authorizer.settle(judgement)
        self._record(event.message, judgement)
