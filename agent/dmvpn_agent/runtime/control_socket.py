"""The control socket: a client sends one request, a line of JSON, and receives one document, or a stream of them.

A request is ``{"command": "peers", "arguments": {…}}``; a line that is empty asks for ``status``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.control_client import TIMEOUT
from dmvpn_agent.runtime.document import Code, Document, RequestError, failure
from dmvpn_agent.runtime.json_values import document as read_json
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import bind

MAX_CONNECTIONS = 16
#: Streams that may be open at once: they leave connections for single requests.
MAX_STREAMS = 8
#: Rendering the state of many peers delays answers to nhrpd, so it gets a quarter of the time: after each document
#: the socket rests this many times as long as the document took.
REST = 3.0
MAX_REQUEST = 64 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks. ``user``: the client's user id, by the kernel (unix(7), SO_PEERCRED)."""

    command: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    user: int = -1


#: Returns the answer to a request, or the documents of a stream.
Answer = Callable[[Request], Awaitable[Document | AsyncIterator[Document]]]


class ControlSocket:
    """Serves ``answer``."""

    def __init__(self, path: Path, answer: Answer, telemetry: Telemetry, *, timeout: float = TIMEOUT) -> None:
        self._path = path
        self._answer = answer
        self._timeout = timeout
        self._server = StreamListener("control", self._serve, telemetry, limit=MAX_CONNECTIONS)
        self._started = False
        self._streams = 0
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
            try:
                answer: Document | AsyncIterator[Document] | bytes = await self._answer_to(connection)
            except RequestError as error:
                answer = failure("error/1", error.code, str(error))
            if not isinstance(answer, AsyncIterator):
                connection.writer.write(answer if isinstance(answer, bytes) else _line(answer))
                connection.writer.write_eof()
                await connection.closed_by_client()
                return
        await self._stream(connection, answer)

    async def _answer_to(self, connection: Connection) -> bytes | AsyncIterator[Document]:
        request = await _read_request(connection)
        connection.engaged = True
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(self._rested - clock())
            began = clock()
            answer = await self._answer(request)
            if isinstance(answer, AsyncIterator):
                return answer
            await asyncio.sleep(0)  # with 1,000 peers each half takes some 25 ms
            text = _line(answer)
            self._rested = clock() + REST * (clock() - began)
        return text

    async def _stream(self, connection: Connection, documents: AsyncIterator[Document]) -> None:
        """Send documents until the client closes. A client that does not read loses its connection."""
        if self._streams >= MAX_STREAMS:
            connection.writer.write(_line(failure("error/1", Code.REFUSED, f"{MAX_STREAMS} clients follow already")))
            return
        self._streams += 1
        closed = asyncio.ensure_future(connection.closed_by_client())
        sending = asyncio.ensure_future(self._send(connection, documents))
        try:
            await asyncio.wait({closed, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams -= 1
            for task in (closed, sending):
                task.cancel()
            await asyncio.gather(closed, sending, return_exceptions=True)

    async def _send(self, connection: Connection, documents: AsyncIterator[Document]) -> None:
        async for one in documents:
            connection.writer.write(_line(one))
            async with asyncio.timeout(self._timeout):
                await connection.writer.drain()


def _line(answer: Document) -> bytes:
    return json.dumps(answer).encode() + b"\n"


async def _read_request(connection: Connection) -> Request:
    """Return a client's request. Raises ``RequestError``."""
    user = connection.source[0] if isinstance(connection.source[0], int) else -1
    try:
        line = await connection.reader.readline()
    except ValueError:
        raise RequestError(Code.USAGE, f"the request is longer than {MAX_REQUEST} bytes") from None
    if not line.strip():
        return Request("status", {}, user)
    try:
        wanted = read_json(line)
    except ValueError as error:
        raise RequestError(Code.USAGE, f"the request is not JSON: {error}") from None
    arguments = wanted.get("arguments", {}) if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(wanted.get("command"), str) or not isinstance(arguments, dict):
        raise RequestError(Code.USAGE, 'expected {"command": "…", "arguments": {…}}')
    return Request(wanted["command"], arguments, user)
