"""A small HTTP server in a thread of its own: one request a connection, GET and HEAD.

h11 parses and writes HTTP. The connections are those of ``StreamListener``, because no server library in Alpine
limits what silent clients hold: 1,000 of them keep 1,000 descriptors of aiohttp or uvicorn for ever, and 344 of
hypercorn for 5 s, while nhrpd needs one. aiohttp would also cost 17 MB, uvicorn 6 MB; h11 costs 0.4 MB.
"""

import asyncio
import os
import resource
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote

import h11
import structlog

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import Guard, HttpAccess
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: More than the connections that are accepted before the request of the first is read; fewer if the process may have
#: few descriptors, which nhrpd needs too.
MAX_CONNECTIONS = max(8, min(128, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 8))
BACKLOG = 1024
#: Octets of a request's head.
MAX_REQUEST = 16384
#: Seconds in which a client must send its request and read the answer.
TIMEOUT = 10.0
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request; the names of header fields are in lower case."""

    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer; ``headers``: besides type, length and those that every answer has."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


Page = Callable[[HttpRequest], Awaitable[HttpResponse]]


def error_page(status: HTTPStatus, *headers: tuple[str, str], text: str = "") -> HttpResponse:
    """Return an answer that says what is wrong."""
    return HttpResponse(f"{status.value} {status.phrase}\n{text}".encode(), status=status, headers=headers)


class HttpServer:
    """Serves ``pages``, by path. ``open_paths`` need no authentication.

    ``timeout``: seconds in which a client must send its request and read the answer. ``name``: one of
    ``metrics.LISTENERS``.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        access: HttpAccess,
        pages: Mapping[str, Page],
        telemetry: Telemetry,
        *,
        open_paths: frozenset[str] = frozenset(),
        timeout: float = TIMEOUT,
        name: str = "metrics",
    ) -> None:
        self._name = name
        self._endpoint = endpoint
        self._guard = Guard(access)
        self._pages = pages
        self._telemetry = telemetry
        self._open_paths = open_paths
        self._timeout = timeout
        self._trouble = Trouble()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, without waiting. Raises ``OSError``, which says what to do, if address or files are not usable."""
        self._guard.context()
        self._guard.admits("")
        listener = self._listen()
        self._loop = asyncio.new_event_loop()
        self._work = self._loop.create_task(self._serve(listener))
        self._thread = threading.Thread(target=self._run, args=(self._loop, self._work), name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the server."""
        if self._loop and self._work and self._thread:
            self._loop.call_soon_threadsafe(self._work.cancel)
            self._thread.join(self._timeout)
            self._thread = None

    def _listen(self) -> socket.socket:
        """Bind the address. It is never a name, so nothing waits for DNS."""
        host, port = self._endpoint.host, self._endpoint.port
        family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
        try:
            listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            text = (
                f"cannot listen on {self._endpoint}: {why}; stop the program that uses it (`ss -ltnp`), or configure"
                " another address or port"
            )
            raise OSError(error.errno, text) from error
        # The kernel hands over a connection when its first octet has arrived (tcp(7)): silent clients stay there.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(TIMEOUT))
        return listener

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop, work: asyncio.Task[None]) -> None:
        try:
            loop.run_until_complete(asyncio.gather(work, return_exceptions=True))
        finally:
            loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        server = StreamListener(
            self._name, self._answer, self._telemetry, limit=MAX_CONNECTIONS, tls=self._guard.context
        )
        server.start(listener)
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop()

    async def _answer(self, connection: Connection) -> None:
        async with asyncio.timeout(self._timeout):
            protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
            response = await self._response(connection, protocol)
            if response is None:
                return  # the client closed without a request, as a check of the port does
            connection.engaged = True
            self._telemetry.increment(metrics.HTTP_REQUESTS, str(response.status.value))
            head = h11.Response(
                status_code=response.status.value, headers=_fields(response), reason=response.status.phrase
            )
            connection.writer.write(protocol.send(head) or b"")
            # To HEAD, h11 sends no body.
            connection.writer.write(protocol.send(h11.Data(data=response.body)) or b"")
            connection.writer.write(protocol.send(h11.EndOfMessage()) or b"")
            if connection.writer.can_write_eof():
                connection.writer.write_eof()
                await connection.closed_by_client()
            else:  # TLS
                connection.writer.close()
                await connection.writer.wait_closed()

    async def _response(self, connection: Connection, protocol: h11.Connection) -> HttpResponse | None:
        try:
            request = await _read_request(connection, protocol)
        except h11.RemoteProtocolError as error:
            return error_page(HTTPStatus(error.error_status_hint))
        if request is None:
            return None
        connection.engaged = True
        if request.method not in {b"GET", b"HEAD"}:
            return error_page(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        read = _http_request(request)
        if (page := self._pages.get(read.path)) is None:
            return error_page(HTTPStatus.NOT_FOUND, text=f"Here are: {' '.join(sorted(self._pages))}\n")
        return self._refusal(read) or await page(read)

    def _refusal(self, request: HttpRequest) -> HttpResponse | None:
        if request.path in self._open_paths:
            return None
        try:
            admitted = self._guard.admits(request.headers.get("authorization", ""))
        except OSError as error:
            if self._trouble.is_new(str(error)):
                log.error("metrics_access_unreadable", why=str(error), consequence="every scrape is refused")
            return error_page(HTTPStatus.SERVICE_UNAVAILABLE)
        self._trouble.over()
        if admitted:
            return None
        challenges = tuple(("WWW-Authenticate", value) for value in self._guard.challenges)
        return error_page(HTTPStatus.UNAUTHORIZED, *challenges)


async def _read_request(connection: Connection, protocol: h11.Connection) -> h11.Request | None:
    """Return the request; ``None`` if the client closes before it is complete. A body is not read."""
    while True:
        event = protocol.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        protocol.receive_data(await connection.reader.read(65536))


def _http_request(request: h11.Request) -> HttpRequest:
    path, _, query = request.target.decode("latin-1").partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
    try:
        values = parse_qs(query, max_num_fields=1000)
    except ValueError:
        values = {}
    return HttpRequest(unquote(path), values, headers)


def _fields(response: HttpResponse) -> list[tuple[str, str]]:
    return [
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *response.headers,
    ]
