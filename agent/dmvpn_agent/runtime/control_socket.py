"""The control socket: whoever connects is given the state of the process as one JSON document."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.json_values import document
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import bind

#: Seconds within which a client must have read all of it.
TIMEOUT = 5.0
MAX_CONNECTIONS = 8
#: The state of many peers takes a while to write down, and nhrpd waits meanwhile: that has a quarter of the time.
REST = 3.0
MAX_STATUS = 64 << 20


class ControlSocket:
    """Serves ``status``, which returns what is to be told as a JSON object."""

    def __init__(
        self, path: Path, status: Callable[[], dict[str, Any]], telemetry: Telemetry, *, timeout: float = TIMEOUT
    ) -> None:
        self._path = path
        self._status = status
        self._timeout = timeout
        self._server = StreamListener("control", self._serve, telemetry, limit=MAX_CONNECTIONS)
        self._started = False
        self._turn = asyncio.Lock()
        self._rested = 0.0

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` where another process answers on the path."""
        self._server.start(bind(self._path, mode=0o660))
        self._started = True

    async def stop(self) -> None:
        """Close the socket."""
        if self._started:
            await self._server.stop()
            self._path.unlink(missing_ok=True)

    async def _serve(self, connection: Connection) -> None:
        async with asyncio.timeout(self._timeout):
            connection.engaged = True
            connection.writer.write(await self._state())
            connection.writer.write_eof()
            await connection.closed_by_client()

    async def _state(self) -> bytes:
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(self._rested - clock())
            began = clock()
            state = self._status()
            await asyncio.sleep(0)  # with a thousand peers either half takes some 25 ms
            text = json.dumps(state).encode()
            self._rested = clock() + REST * (clock() - began)
        return text


async def read_status(path: Path) -> dict[str, Any]:
    """Ask a running process. Raises ``OSError`` (nobody there, no right), ``TimeoutError``, ``ValueError``."""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            text = bytearray()
            while chunk := await reader.read(1 << 16):
                text += chunk
                if len(text) > MAX_STATUS:
                    raise ValueError(f"{path} sent more than {MAX_STATUS} bytes")
        finally:
            writer.close()
    status = document(text)
    if not isinstance(status, dict):
        raise ValueError(f"{path} sent no status")
    return status
