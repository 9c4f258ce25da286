"""The Unix socket where nhrpd looks for charon, and its clients."""

import asyncio
from pathlib import Path

import structlog

from dmvpn_agent.adapters.unix import listen
from dmvpn_agent.core import metrics
from dmvpn_agent.service.bridge import Bridge
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.wire.vici import Packet, PacketReader, ViciError, encode

log = structlog.get_logger()

MAX_CLIENTS = 16
#: nhrpd reads at once; one that lets this much wait does not read at all.
MAX_WAITING_BYTES = 8 << 20


class ViciClient:
    """One connected client; ``events`` are those it registered."""

    def __init__(self, writer: asyncio.StreamWriter, telemetry: Telemetry, max_waiting: int) -> None:
        self._writer = writer
        self._telemetry = telemetry
        self._max_waiting = max_waiting
        self._closed = False
        self.events: set[str] = set()

    def send(self, packet: Packet) -> None:
        """Send a packet; a client that has let too much wait is closed."""
        if self._closed:
            return
        self._writer.write(encode(packet))
        if self._writer.transport.get_write_buffer_size() > self._max_waiting:
            self.close("does_not_read")

    def close(self, cause: str) -> None:
        """Close the connection at once, without waiting for the client to read."""
        if not self._closed:
            self._closed = True
            self._telemetry.increment(metrics.BRIDGE_CLIENTS_DROPPED, cause)
            self._writer.transport.abort()


class ViciServer:
    """Serves VICI clients from the bridge; ``max_waiting`` is how many bytes a client may let wait."""

    def __init__(
        self, path: Path, bridge: Bridge, telemetry: Telemetry, *, max_waiting: int = MAX_WAITING_BYTES
    ) -> None:
        self._path = path
        self._bridge = bridge
        self._telemetry = telemetry
        self._max_waiting = max_waiting
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` where another process answers on the path."""
        self._server = await listen(self._path, self._connected, mode=0o660)

    async def stop(self) -> None:
        """Close the socket and all clients."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = ViciClient(writer, self._telemetry, self._max_waiting)
        task = asyncio.current_task()
        if len(self._tasks) >= MAX_CLIENTS or task is None:
            client.close("too_many")
            return
        self._tasks.add(task)
        self._bridge.connected(client)
        cause = "closed_by_client"
        try:
            await self._serve(client, reader)
        except (ViciError, ConnectionError) as error:
            cause = "broken"
            log.warning("client_refused", why=str(error))
        except asyncio.CancelledError:
            cause = "stopped"
        finally:
            self._tasks.discard(task)
            self._bridge.disconnected(client)
            client.close(cause)

    async def _serve(self, client: ViciClient, reader: asyncio.StreamReader) -> None:
        packets = PacketReader()
        while data := await reader.read(1 << 16):
            for packet in packets.feed(data):
                answer = await self._bridge.answer(client, packet)
                if answer is not None:
                    client.send(answer)
