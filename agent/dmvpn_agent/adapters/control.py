"""The control socket: whoever connects is given the state of the process as one JSON document."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmvpn_agent.adapters.unix import listen
from dmvpn_agent.wire.typed import document

TIMEOUT = 5.0
MAX_STATUS = 64 << 20


class ControlSocket:
    """Serves ``status``, which returns what is to be told as a JSON object."""

    def __init__(self, path: Path, status: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._status = status
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``SocketInUse`` where another process answers on the path."""
        self._server = await listen(self._path, self._connected, mode=0o660)

    async def stop(self) -> None:
        """Close the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(json.dumps(self._status()).encode())
            async with asyncio.timeout(TIMEOUT):
                await writer.drain()
        except (ConnectionError, TimeoutError):
            writer.transport.abort()  # close() would wait for a client that does not read
        finally:
            writer.close()


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
