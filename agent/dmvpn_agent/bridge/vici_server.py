"""The Unix socket where nhrpd looks for charon, and its clients.

Plain sockets on the event loop, not streams: what was read and not answered, and what was not sent yet, must be known
to the byte when another program takes over.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import structlog

from dmvpn_agent.bridge import metrics
from dmvpn_agent.bridge.clients import Client
from dmvpn_agent.bridge.handover_state import ClientState
from dmvpn_agent.charon.vici import Packet, PacketReader, ViciError, encode
from dmvpn_agent.runtime.acceptor import Acceptor, Source, makes_room, source_of
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import bind

log = structlog.get_logger()

MAX_CLIENTS = 16
#: Descriptors kept for nhrpd's connection where the process has no other left.
RESERVE = 2
#: nhrpd reads at once; one that lets this much wait does not read at all.
MAX_WAITING_BYTES = 8 << 20
#: While this many requests of a client wait, no more are read from it.
MAX_WAITING_REQUESTS = 256
#: More than this makes ``drained`` wait.
HIGH_WATER = 1 << 18
_CHUNK = 1 << 16

Answer = Callable[[Client, Packet], Awaitable[Packet | None]]


class Hub(Protocol):
    """Who the clients belong to."""

    def connected(self, client: Client) -> None:
        """Take up a client, or close it."""

    def adopt(self, client: Client) -> None:
        """Take up a client of the program before this one."""

    def disconnected(self, client: Client) -> None:
        """Let go of a client."""


class ViciClient:
    """One connected client; ``events`` are those it registered."""

    def __init__(
        self, connection: socket.socket, answer: Answer, ended: Callable[["ViciClient", str], None], max_waiting: int
    ) -> None:
        connection.setblocking(False)
        self._connection = connection
        self.source: Source = source_of(connection)
        self._answer = answer
        self._ended = ended
        self._max_waiting = max_waiting
        self._loop = asyncio.get_running_loop()
        self._packets = PacketReader()
        self._requests: deque[Packet] = deque()
        self._unsent = bytearray()
        self._drained = asyncio.Event()
        self._drained.set()
        self._reading = self._closed = False
        self._task: asyncio.Task[None] | None = None
        self.events: set[str] = set()

    @property
    def engaged(self) -> bool:
        """Whether it asked for an event, as nhrpd does at once."""
        return bool(self.events)

    def start(self, state: ClientState | None = None) -> None:
        """Serve it; ``state`` is how another program left it."""
        if self._closed:
            return
        if state is not None:
            self.events |= state.events
            self._unsent += state.unsent
            self._flush()
            self._take(state.unread)
        if not self._closed and len(self._requests) < MAX_WAITING_REQUESTS:
            self._read_on(True)

    def freeze(self) -> ClientState:
        """Stop serving, and return how it stands; ``start`` goes on. A request not answered yet counts as unread."""
        self._read_on(False)
        self._loop.remove_writer(self._connection)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        unread = b"".join(map(encode, self._requests)) + self._packets.rest
        state = ClientState(self._connection.fileno(), frozenset(self.events), unread, bytes(self._unsent))
        self._requests.clear()
        self._packets = PacketReader()
        self._unsent.clear()
        return state

    def send(self, packet: Packet) -> None:
        """Send a packet; a client that has let too much wait is closed."""
        if self._closed:
            return
        try:
            self._unsent += encode(packet)
        except ViciError as error:  # without this answer or event the client would be wrong about all that follows
            log.error("vici_message_too_long", why=str(error))
            self.close("message_too_long")
            return
        self._flush()
        if len(self._unsent) > self._max_waiting:
            self.close("does_not_read")

    async def drained(self) -> None:
        """Wait while much is still unsent."""
        await self._drained.wait()

    def close(self, cause: str) -> None:
        """Close the connection at once, without waiting for the client to read."""
        if self._closed:
            return
        self._closed = True
        self._read_on(False)
        self._loop.remove_writer(self._connection)
        self._connection.close()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._ended(self, cause)

    def _read_on(self, wanted: bool) -> None:
        if wanted and not self._reading:
            self._loop.add_reader(self._connection, self._readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._connection)
        self._reading = wanted

    def _readable(self) -> None:
        try:
            data = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("client_refused", why=str(error))
            self.close("broken")
            return
        if data:
            self._take(data)
        else:
            self.close("closed_by_client")

    def _take(self, data: bytes) -> None:
        try:
            self._requests.extend(self._packets.feed(data))
        except ViciError as error:
            log.warning("client_refused", why=str(error))
            self.close("broken")
            return
        if self._requests and self._task is None:
            self._task = asyncio.ensure_future(self._answer_all())
        if len(self._requests) >= MAX_WAITING_REQUESTS:
            self._read_on(False)

    async def _answer_all(self) -> None:
        while self._requests and not self._closed:
            await asyncio.sleep(0)  # a client that asks without a pause is not the only one
            try:
                answer = await self._answer(self, self._requests[0])
            except Exception:
                log.exception("request_failed", command=self._requests[0].name, consequence="the client is closed")
                self.close("failed")
                return
            # From here to the answer nothing may wait: a request is either answered or handed over.
            self._requests.popleft()
            if answer is not None:
                self.send(answer)
            if not self._reading and not self._closed and len(self._requests) < MAX_WAITING_REQUESTS:
                self._read_on(True)
        self._task = None

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._connection, self._flush)
        except OSError as error:
            log.warning("client_refused", why=str(error))
            self.close("broken")
            return
        else:
            self._loop.remove_writer(self._connection)
        if len(self._unsent) > min(HIGH_WATER, self._max_waiting // 4):
            self._drained.clear()
        else:
            self._drained.set()


class ViciServer:
    """Serves the hub's VICI clients; ``max_waiting`` is how many bytes a client may let wait."""

    def __init__(
        self, path: Path, hub: Hub, answer: Answer, telemetry: Telemetry, *, max_waiting: int = MAX_WAITING_BYTES
    ) -> None:
        self._path = path
        self._hub = hub
        self._answer = answer
        self._telemetry = telemetry
        self._max_waiting = max_waiting
        self._acceptor = Acceptor("bridge", self._taken, telemetry, reserve=RESERVE)
        self._listener: socket.socket | None = None
        self._clients: list[ViciClient] = []

    def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` where another process answers on the path."""
        self._serve_on(bind(self._path, mode=0o660))

    def adopt(self, listener: int, clients: tuple[ClientState, ...]) -> None:
        """Go on with the sockets of the program before this one; one on another path than ours is replaced.

        Raises ``OSError``, ``SocketInUse``.
        """
        inherited = socket.socket(fileno=listener)
        if inherited.family is socket.AF_UNIX and inherited.getsockname() == str(self._path):
            self._serve_on(inherited)
        else:
            inherited.close()
            self.start()
        for state in clients:
            connection = socket.socket(fileno=state.descriptor)
            client = self._client(connection)
            self._hub.adopt(client)
            client.start(state)

    def freeze(self) -> tuple[int, tuple[ClientState, ...]]:
        """Stop serving, and return listener and clients as they stand. Raises ``RuntimeError`` before ``start``."""
        if self._listener is None:
            raise RuntimeError("the server is not started")
        self._acceptor.stop()
        return self._listener.fileno(), tuple(client.freeze() for client in self._clients)

    def thaw(self, states: tuple[ClientState, ...]) -> None:
        """Go on serving after ``freeze``."""
        if self._listener is not None:
            self._serve_on(self._listener)
        for client, state in zip(tuple(self._clients), states, strict=True):
            client.start(state)

    def stop(self) -> None:
        """Close the socket and all clients."""
        if self._listener is not None:
            self._acceptor.stop()
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        for client in tuple(self._clients):
            client.close("stopped")

    def _serve_on(self, listener: socket.socket) -> None:
        self._listener = listener
        self._acceptor.start(listener)

    def _client(self, connection: socket.socket) -> ViciClient:
        client = ViciClient(connection, self._answer, self._closed, self._max_waiting)
        self._clients.append(client)
        return client

    def _taken(self, connection: socket.socket) -> bool:
        leaves = makes_room(self._clients, source_of(connection)) if len(self._clients) >= MAX_CLIENTS else None
        if leaves is not None:
            leaves.close("too_many" if leaves.engaged else "idle")
        client = self._client(connection)
        if len(self._clients) > MAX_CLIENTS:
            client.close("too_many")
            return True
        self._hub.connected(client)
        client.start()
        return True

    def _closed(self, client: ViciClient, cause: str) -> None:
        self._telemetry.increment(metrics.BRIDGE_CLIENTS_DROPPED, cause)
        self._clients.remove(client)
        self._hub.disconnected(client)
