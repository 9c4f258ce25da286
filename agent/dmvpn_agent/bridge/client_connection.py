"""One VICI client's connection to the bridge.

Plain sockets on the event loop, not streams: an upgrade hands over, to the byte, the requests without an answer and
what is not sent yet.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from dmvpn_agent.bridge.clients import Client
from dmvpn_agent.bridge.handover_state import ClientState
from dmvpn_agent.charon.vici import Packet, PacketReader, ViciError, encode
from dmvpn_agent.runtime.acceptor import Source, source_of

log = structlog.get_logger()

#: The bridge stops reading from a client while so many of its requests wait.
MAX_WAITING_REQUESTS = 256
#: ``drained`` waits while more bytes than this are unsent.
HIGH_WATER = 1 << 18
_CHUNK = 1 << 16

Answer = Callable[[Client, Packet], Awaitable[Packet | None]]


class ClientConnection:
    """Reads a client's requests, and answers them one after another; ``events``: those that it registered.

    ``max_unsent``: the connection is closed if the client leaves more bytes unread. ``closed(client, cause)`` is
    called once.
    """

    def __init__(
        self,
        connection: socket.socket,
        answer: Answer,
        closed: Callable[["ClientConnection", str], None],
        max_unsent: int,
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self.source: Source = source_of(connection)
        self._answer = answer
        self._on_closed = closed
        self._max_unsent = max_unsent
        self._loop = asyncio.get_running_loop()
        self._packets = PacketReader()
        self._requests: deque[Packet] = deque()
        self._unsent = bytearray()
        self._drained = asyncio.Event()
        self._drained.set()
        self._reading = self._closed = False
        self._answering: asyncio.Task[None] | None = None
        self.events: set[str] = set()

    @property
    def engaged(self) -> bool:
        """Whether the client registered an event, as nhrpd does at once."""
        return bool(self.events)

    def start(self, state: ClientState | None = None) -> None:
        """Serve the client; ``state``: how ``freeze`` left it."""
        if self._closed:
            return
        if state is not None:
            self.events |= state.events
            self._unsent += state.unsent
            self._flush()
            self._feed(state.unread)
        if not self._closed and len(self._requests) < MAX_WAITING_REQUESTS:
            self._set_reading(True)

    def freeze(self) -> ClientState:
        """Stop serving, and return the state; ``start`` continues. A request without an answer counts as unread."""
        self._set_reading(False)
        self._loop.remove_writer(self._connection)
        if self._answering is not None:
            self._answering.cancel()
            self._answering = None
        unread = b"".join(map(encode, self._requests)) + self._packets.rest
        state = ClientState(self._connection.fileno(), frozenset(self.events), unread, bytes(self._unsent))
        self._requests.clear()
        self._packets = PacketReader()
        self._unsent.clear()
        return state

    def send(self, packet: Packet) -> None:
        """Send a packet, as soon as the client reads."""
        if self._closed:
            return
        try:
            self._unsent += encode(packet)
        except ViciError as error:  # a client that misses one packet misunderstands all later ones
            log.error("vici_message_too_long", why=str(error))
            self.close("message_too_long")
            return
        self._flush()
        if len(self._unsent) > self._max_unsent:
            self.close("does_not_read")

    async def drained(self) -> None:
        """Wait while much is unsent."""
        await self._drained.wait()

    def close(self, cause: str) -> None:
        """Close the connection at once, without waiting for the client to read."""
        if self._closed:
            return
        self._closed = True
        self._set_reading(False)
        self._loop.remove_writer(self._connection)
        self._connection.close()
        if self._answering is not None and self._answering is not asyncio.current_task():
            self._answering.cancel()
        self._on_closed(self, cause)

    def _set_reading(self, wanted: bool) -> None:
        if wanted and not self._reading:
            self._loop.add_reader(self._connection, self._read)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._connection)
        self._reading = wanted

    def _read(self) -> None:
        try:
            data = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        if data:
            self._feed(data)
        else:
            self.close("closed_by_client")

    def _feed(self, data: bytes) -> None:
        try:
            self._requests.extend(self._packets.feed(data))
        except ViciError as error:
            self._break(error)
            return
        if self._requests and self._answering is None:
            self._answering = asyncio.ensure_future(self._answer_all())
        if len(self._requests) >= MAX_WAITING_REQUESTS:
            self._set_reading(False)

    async def _answer_all(self) -> None:
        while self._requests and not self._closed:
            await asyncio.sleep(0)  # let other clients have their turn
            try:
                answer = await self._answer(self, self._requests[0])
            except Exception:
                log.exception("request_failed", command=self._requests[0].name, consequence="the client is closed")
                self.close("failed")
                return
            # No await from here on: ``freeze`` hands over a request, or its answer, never both.
            self._requests.popleft()
            if answer is not None:
                self.send(answer)
            if not self._reading and not self._closed and len(self._requests) < MAX_WAITING_REQUESTS:
                self._set_reading(True)
        self._answering = None

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._connection, self._flush)
        except OSError as error:
            self._break(error)
            return
        else:
            self._loop.remove_writer(self._connection)
        if len(self._unsent) > min(HIGH_WATER, self._max_unsent // 4):
            self._drained.clear()
        else:
            self._drained.set()

    def _break(self, error: Exception) -> None:
        log.warning("client_refused", why=str(error))
        self.close("broken")
