"""The control socket: each client receives the state of the process as one JSON document."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.json_values import document
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import bind

#: Seconds in which a client must read all of it.
TIMEOUT = 5.0
MAX_CONNECTIONS = 8
#: Rendering the state of many peers delays answers to nhrpd, so it gets a quarter of the time: after each document
#: the socket rests this many times as long as the document took.
REST = 3.0
MAX_STATUS = 64 << 20


class ControlSocket:
    """Serves ``status``, which returns the state as a JSON object."""

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
        """Listen. Raises ``OSError``, or ``SocketInUse`` if another process listens on the path."""
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
            await asyncio.sleep(0)  # with 1,000 peers each half takes some 25 ms
            text = json.dumps(state).encode()
            self._rested = clock() + REST * (clock() - began)
        return text


async def read_status(path: Path) -> dict[str, Any]:
    """Return a running process's state.

    Raises ``OSError`` (it does not run, no permission), ``TimeoutError``, ``ValueError``.
    """
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
