"""Connects to charon's VICI socket."""

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from dmvpn_agent.charon import metrics
from dmvpn_agent.charon.session import CharonLost, CommandFailed
from dmvpn_agent.charon.vici import Packet, PacketReader, PacketType, Section, ViciError, encode, text
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds. charon answers from memory; if an answer takes longer, charon hangs.
REQUEST_TIMEOUT = 20.0
#: charon queues events without a bound, the client does not: if more wait, it reconnects and lists all SAs.
MAX_WAITING_EVENTS = 10_000
#: Seconds between two attempts to connect: at first, and at most.
FIRST_RETRY_INTERVAL, MAX_RETRY_INTERVAL = 0.2, 1.0
#: Bytes read at once, and parsed before the event loop continues.
CHUNK = 1 << 14

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A command without an answer yet; ``take`` receives the messages of the ``event`` by which charon answers it."""

    answer: asyncio.Future[Packet]
    event: str
    take: Callable[[Section], None]


def _nothing(_: Section) -> None:
    """Receive no events."""


class ViciCharon:
    """Connects to charon's socket, with back-off if charon is away or closes the connection soon.

    ``timeout``: seconds for one answer. ``max_waiting_events``: how many events may be queued. ``refuses_itself``:
    this process listens on a VICI socket too, and must not connect to it.
    """

    def __init__(
        self,
        path: Path,
        telemetry: Telemetry,
        *,
        timeout: float = REQUEST_TIMEOUT,
        max_waiting_events: int = MAX_WAITING_EVENTS,
        refuses_itself: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        self._path = path
        self._telemetry = telemetry
        self._timeout = timeout
        self._max_waiting_events = max_waiting_events
        self._refuses_itself = refuses_itself
        self._backoff = backoff or Backoff(FIRST_RETRY_INTERVAL, MAX_RETRY_INTERVAL)
        self._trouble = Trouble()

    @asynccontextmanager
    async def session(self) -> AsyncIterator["ViciSession"]:
        """Connect, however long that takes; the connection is closed at the end of the block."""
        streams = await self._connect()
        self._telemetry.increment(metrics.VICI_RECONNECTS)
        session = ViciSession(*streams, self._telemetry, self._timeout, self._max_waiting_events)
        try:
            yield session
        finally:
            self._backoff.failed()
            await session.close()

    async def _connect(self) -> Streams:
        while True:
            await asyncio.sleep(self._backoff.delay)
            self._backoff.begin()
            try:
                streams = await asyncio.open_unix_connection(self._path)
                if self._refuses_itself:
                    _refuse_itself(streams[1])
            except OSError as error:
                self._backoff.failed()
                if self._trouble.is_new(error):
                    log.warning("charon_unreachable", socket=str(self._path), why=self._trouble.text,
                                do="check that charon runs, that its vici plugin uses this socket"
                                " (ike.vici_socket), and that this user may open it")  # fmt: skip
            else:
                self._trouble.over()
                return streams


def _refuse_itself(writer: asyncio.StreamWriter) -> None:
    """Close a connection to this very process, whatever path led to its socket. Raises ``OSError``."""
    connection: socket.socket = writer.get_extra_info("socket")
    size = struct.calcsize("3i")  # struct ucred: pid, uid, gid of the process that called listen()
    process, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if process == os.getpid():
        writer.transport.abort()
        raise ConnectionRefusedError("this is the bridge's own socket (bridge.listen), not charon's")


class ViciSession:
    """A connection. charon answers commands in order, and sends a streaming command's events before its answer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        telemetry: Telemetry,
        timeout: float,
        max_waiting_events: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._telemetry = telemetry
        self._timeout = timeout
        self._pending: deque[_Pending] = deque()
        self._streamed: dict[str, asyncio.Future[bool]] = {}
        self._events: asyncio.Queue[tuple[str, Section] | None] = asyncio.Queue(max_waiting_events)
        self._lost: str | None = None
        self._receiver = asyncio.create_task(self._receive())

    @property
    def lost(self) -> bool:
        """Tell whether the connection has ended."""
        return self._lost is not None

    async def close(self) -> None:
        """Close the connection."""
        running: list[asyncio.Future[Any]] = [self._receiver, *self._streamed.values()]
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._writer.close()

    async def request(self, command: str, message: Section) -> Section:
        """Run a command and return its answer. Raises ``CommandFailed``, ``CharonLost``."""
        return await self._run(command, message)

    async def stream(
        self, command: str, message: Section, event: str, read: Callable[[Section], Iterable[Read]]
    ) -> list[Read]:
        """Run a command that answers by events; return what ``read`` makes of each message as it arrives.

        Raises ``CommandFailed``, ``CharonLost``, and what ``read`` raises.
        """
        # Register once a session: charon sends these events only to the connection that gave the command
        # (``vici_dispatcher.c``, ``raise_event`` with its id), and twice if it is registered twice.
        if event not in self._streamed:
            self._streamed[event] = asyncio.ensure_future(self.register(event))
        if not await asyncio.shield(self._streamed[event]):
            raise CommandFailed(f"charon does not know the event {event}")
        collected: list[Read] = []
        await self._run(command, message, event, lambda section: collected.extend(read(section)))
        return collected

    async def _run(
        self, command: str, message: Section, event: str = "", take: Callable[[Section], None] = _nothing
    ) -> Section:
        answer = await self._exchange(Packet(PacketType.CMD_REQUEST, command, message), event, take)
        if answer.type is not PacketType.CMD_RESPONSE:
            raise CommandFailed(f"charon does not know the command {command}")
        if text(answer.message, "success") == "no":
            raise CommandFailed(f"{command}: {text(answer.message, 'errmsg') or 'failed'}")
        return answer.message

    async def register(self, event: str) -> bool:
        """Register for an event; return whether charon knows it. Raises ``CharonLost``."""
        answer = await self._exchange(Packet(PacketType.EVENT_REGISTER, event))
        return answer.type is PacketType.EVENT_CONFIRM

    async def events(self) -> AsyncIterator[tuple[str, Section]]:
        """Yield events as they arrive. Raises ``CharonLost``."""
        while (event := await self._events.get()) is not None:
            yield event
        raise CharonLost(self._lost or "the connection was closed")

    async def _exchange(self, packet: Packet, event: str = "", take: Callable[[Section], None] = _nothing) -> Packet:
        if self._lost is not None:
            raise CharonLost(self._lost)
        try:
            encoded = encode(packet)
        except ViciError as error:  # the command cannot be encoded; the connection is intact
            raise CommandFailed(str(error)) from error
        answer: asyncio.Future[Packet] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(answer, event, take))
        self._writer.write(encoded)
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
                return await answer
        except TimeoutError:
            self._lose(f"charon did not answer {packet.name} within {self._timeout:g} s")
            raise CharonLost(self._lost) from None
        except ConnectionError as error:
            raise CharonLost(str(error)) from error

    async def _receive(self) -> None:
        packets = PacketReader()
        try:
            while data := await self._reader.read(CHUNK):
                for packet in packets.feed(data):
                    self._packet(packet)
                await asyncio.sleep(0)  # reading buffered bytes does not yield to the event loop
            self._lose("charon closed the connection")
        except (ViciError, OSError) as error:
            self._lose(str(error))

    def _packet(self, packet: Packet) -> None:
        if packet.type is not PacketType.EVENT:
            if not self._pending:
                raise ViciError("charon sent an answer to no command")
            answer = self._pending.popleft().answer
            if not answer.done():
                answer.set_result(packet)
        elif packet.name in self._streamed:
            # charon runs one command after another: these belong to the oldest one, or to one that was given up.
            if self._pending and self._pending[0].event == packet.name and not self._pending[0].answer.done():
                try:
                    self._pending[0].take(packet.message)
                except Exception as error:  # raised where the command was given; the connection is intact
                    self._pending[0].answer.set_exception(error)
        else:
            self._telemetry.increment(metrics.VICI_EVENTS, packet.name)
            try:
                self._events.put_nowait((packet.name, packet.message))
            except asyncio.QueueFull:
                limit = self._events.maxsize
                raise ViciError(f"more than {limit} events wait; reconnecting to list all SAs") from None

    def _lose(self, why: str | None) -> None:
        self._lost = why
        for pending in self._pending:
            if not pending.answer.done():
                pending.answer.set_exception(CharonLost(why))
                pending.answer.exception()  # retrieved here, in case the command was given up
        self._pending.clear()
        while self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(None)
