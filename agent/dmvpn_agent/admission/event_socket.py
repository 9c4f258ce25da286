"""The Unix socket that nhrpd connects to, as a client, to ask who may join (``nhrp event socket PATH``)."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent, EventError, EventReader, answer
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.runtime.slices import in_slices
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import bind

log = structlog.get_logger()

#: nhrpd holds one, and for a moment a second one as it is restarted.
MAX_CONNECTIONS = 8
#: Descriptors kept for nhrpd's connection where the process has no other left.
RESERVE = 2
#: nhrpd writes a message at once; a client that leaves one unfinished this long is not nhrpd.
MESSAGE_TIMEOUT = 10.0
WRITE_TIMEOUT = 5.0
#: Questions of a connection whose answers wait for charon; one more is answered by what is known.
MAX_WAITING = 256
#: Of those, how many may be from one NBMA address: a peer that registers anything and everything keeps nobody out.
MAX_WAITING_BESIDE = 16

#: What a question is about: interface and protocol address.
Binding = tuple[str, Address]


class Late(NamedTuple):
    """A question whose answer waits for charon."""

    nbma_address: Address
    task: asyncio.Task[None]


#: Those of one connection.
Waiting = dict[Binding, Late]


def _binding(event: AuthorizeBinding) -> Binding:
    return event.request.interface, event.request.protocol_address


def _has_room(waiting: Waiting, nbma_address: Address) -> bool:
    beside = sum(late.nbma_address == nbma_address for late in waiting.values())
    return len(waiting) < MAX_WAITING and beside < MAX_WAITING_BESIDE


class NhrpdSocket:
    """Serves nhrpd's questions. nhrpd holds one connection, and may have nothing to ask for hours.

    A few more are served beside it, each for itself: whoever asks gets the answer. If one more comes, one of the
    user and process with the most connections is closed, first one that has asked nothing.

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
        record: Callable[[bytes, DecisionRecord], None] = lambda *_: None,
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
        self._server = StreamListener("events", self._connected, telemetry, limit=MAX_CONNECTIONS, reserve=RESERVE)
        self._started = False
        self.opened: Callable[[], None] = lambda: None

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._server)

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` where another process answers on the path."""
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
        waiting: Waiting = {}
        user, process = connection.source
        log.info("event_connection_opened", uid=user, pid=process)
        self.opened()
        try:
            outcome = await self._serve(connection, waiting)
        except (ConnectionError, TimeoutError):
            outcome = "broken"
        except asyncio.CancelledError:
            outcome = "evicted" if connection.evicted else "stopped"
        except Exception:
            log.exception("event_connection_failed")
        finally:
            for late in waiting.values():
                late.task.cancel()
        self._telemetry.increment(metrics.EVENT_CONNECTIONS, outcome)
        log.info("event_connection_closed", outcome=outcome, uid=user, pid=process)

    async def _serve(self, connection: Connection, waiting: Waiting) -> str:
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
                answered = await self._answer(events.feed(data), connection, waiting)
            except EventError as error:
                log.warning("event_stream_refused", why=str(error))
                return "message_too_long"
            if not events.unfinished:
                deadline = None
            elif deadline is None or answered:
                deadline = clock() + self._message_timeout

    async def _answer(
        self, events: Iterable[AuthorizeBinding | BadEvent], connection: Connection, waiting: Waiting
    ) -> bool:
        answered = False
        async for event in in_slices(events):
            answered = True
            if isinstance(event, AuthorizeBinding):
                connection.engaged = True
                # nhrpd forgets an earlier question about the binding: its decision must not come after this one's.
                if (earlier := waiting.pop(_binding(event), None)) is not None:
                    earlier.task.cancel()
            waits = self._authorizer.must_ask(event)
            if waits and isinstance(event, AuthorizeBinding) and _has_room(waiting, event.request.nbma_address):
                # The questions after it do not wait with it: nhrpd knows the answers by their numbers.
                task = asyncio.create_task(self._answer_late(event, connection.writer, waiting))
                waiting[_binding(event)] = Late(event.request.nbma_address, task)
                continue
            await self._conclude(event, self._authorizer.decide(event, looked=not waits), connection.writer)
        return answered

    async def _answer_late(self, event: AuthorizeBinding, writer: asyncio.StreamWriter, waiting: Waiting) -> None:
        try:
            await self._conclude(event, await self._authorizer.consider(event), writer)
        except (ConnectionError, TimeoutError):
            writer.transport.abort()
        finally:
            late = waiting.get(_binding(event))
            if late is not None and late.task is asyncio.current_task():
                del waiting[_binding(event)]

    async def _conclude(
        self, event: AuthorizeBinding | BadEvent, judgement: DecisionRecord, writer: asyncio.StreamWriter
    ) -> None:
        if event.event_id is not None:
            if writer.is_closing():
                return  # nhrpd has forgotten the question with its connection
            writer.write(answer(event.event_id, accept=isinstance(judgement.decision, Accept)))
        # Without a pause since the decision: the next one, on whatever connection, must know of it.
        self._authorizer.settle(judgement)
        self._record(event.message, judgement)
        if event.event_id is not None and writer.transport.get_write_buffer_size():  # nhrpd does not keep up
            async with asyncio.timeout(self._write_timeout):
                await writer.drain()
