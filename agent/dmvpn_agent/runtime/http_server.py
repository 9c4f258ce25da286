"""A small HTTP server in a thread of its own: one request a connection; GET, HEAD and POST.

h11 parses and writes HTTP. The connections are those of ``StreamListener``, because no server library in Alpine
limits what silent clients hold: 1,000 of them keep 1,000 descriptors of aiohttp or uvicorn for ever, and 344 of
hypercorn for 5 s, while nhrpd needs one. aiohttp would also cost 17 MB, uvicorn 6 MB; h11 costs 0.4 MB.
"""

import asyncio
import os
import resource
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote

import h11
import structlog

from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import may_be_asked_as
from dmvpn_agent.runtime.http_site import Guard, HttpRequest, HttpResponse, Site, error_page
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: More than the connections that are accepted before the request of the first is read; fewer if the process may have
#: few descriptors, which nhrpd needs too.
MAX_CONNECTIONS = max(8, min(128, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 8))
#: The others of one address have to wait: so there is room for everybody else, and their answers cost little time.
MAX_FROM_ONE_ADDRESS = max(8, MAX_CONNECTIONS // 4)
BACKLOG = 1024
#: Octets of a request's head.
MAX_REQUEST = 16384
#: Seconds in which a client must send its request and read the answer.
TIMEOUT = 10.0
#: Seconds after which a client that does not read its answer has to make room for others from its address.
PATIENCE = 2.0
#: Octets of an answer that are copied for a client at once: there may be many that do not read.
_PIECE = 65536


class HttpServer:
    """Serves a site on a port.

    ``timeout``: seconds in which a client must send its request and read the answer.
    """

    def __init__(
        self, endpoint: Endpoint, guard: Guard, site: Site, telemetry: Telemetry, *, timeout: float = TIMEOUT
    ) -> None:
        self._endpoint = endpoint
        self._guard = guard
        self._site = site
        self._telemetry = telemetry
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
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, self._work), name=self._site.name, daemon=True
        )
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
            if left := asyncio.all_tasks(loop):  # what pages have begun
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left))
        finally:
            loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        server = StreamListener(
            self._site.name, self._answer, self._telemetry, limit=MAX_CONNECTIONS, limit_each=MAX_FROM_ONE_ADDRESS,
            tls=self._guard.context, tls_failed=self._guard.refused,
        )  # fmt: skip
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
            self._telemetry.increment(self._site.counted, str(response.status.value))
            head = h11.Response(
                status_code=response.status.value, headers=_fields(response), reason=response.status.phrase
            )
            connection.writer.write(protocol.send(head) or b"")
            await _send_body(connection, protocol, response.body)
            async with _waiting_for(connection):
                if connection.writer.can_write_eof():
                    connection.writer.write_eof()
                    await connection.closed_by_client()
                else:  # TLS
                    connection.writer.close()
                    await connection.writer.wait_closed()

    async def _response(self, connection: Connection, protocol: h11.Connection) -> HttpResponse | None:
        try:
            async with asyncio.timeout(min(TIMEOUT, self._timeout)):
                request = await self._read(connection, protocol)
        except h11.RemoteProtocolError as error:
            return error_page(HTTPStatus(error.error_status_hint))
        if not isinstance(request, HttpRequest):
            return request
        connection.engaged = True  # not before: requests without their end would keep out others of their address
        page = self._site.page(request.method, request.path)
        return self._refusal(request) or (await page(request) if page else None)

    async def _read(self, connection: Connection, protocol: h11.Connection) -> HttpRequest | HttpResponse | None:
        """Return the request, or the answer to one that is not served; ``None`` if the client closes before.

        Only the body of a POST is read.
        """
        head = await _next_event(connection, protocol)
        if not isinstance(head, h11.Request):
            return None
        request = _http_request(head, connection)
        method, allowed = request.method, self._site.methods(request.path)
        if not allowed and method in {"GET", "HEAD", "POST"}:
            return error_page(HTTPStatus.NOT_FOUND, text=f"Here are: {' '.join(sorted(self._site.pages))}\n")
        if method not in allowed:
            return error_page(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", ", ".join(allowed or ("GET", "HEAD"))))
        if method != "POST":
            return request
        body = await _read_body(connection, protocol, self._site.max_body)
        if body is None:
            return error_page(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return replace(request, body=body)

    def _refusal(self, request: HttpRequest) -> HttpResponse | None:
        if request.path in self._site.open_paths:
            return None
        host, name = request.headers.get("host", ""), self._site.name
        if self._site.hosts is not None and not may_be_asked_as(host, self._site.hosts):
            return error_page(HTTPStatus.MISDIRECTED_REQUEST, text=f"{name}.names has no {host[:80]!r}\n")
        try:
            admitted = self._guard.admits(request.headers.get("authorization", ""))
        except OSError as error:
            if self._trouble.is_new(str(error)):
                log.error("http_access_unreadable", listener=name, why=str(error),
                          consequence="every request is refused")  # fmt: skip
            return error_page(HTTPStatus.SERVICE_UNAVAILABLE)
        self._trouble.over()
        if admitted:
            return None
        challenges = tuple(("WWW-Authenticate", value) for value in self._guard.challenges)
        return error_page(HTTPStatus.UNAUTHORIZED, *challenges)


async def _next_event(connection: Connection, protocol: h11.Connection) -> object:
    """Return the next event, reading as long as it is not complete."""
    while True:
        event = protocol.next_event()
        if event is not h11.NEED_DATA:
            return event
        if protocol.they_are_waiting_for_100_continue:
            connection.writer.write(protocol.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        protocol.receive_data(await connection.reader.read(65536))


async def _read_body(connection: Connection, protocol: h11.Connection, longest: int) -> bytes | None:
    """Return the body; ``None`` if it is longer. Raises ``h11.RemoteProtocolError`` if it ends too early."""
    body = b""
    while isinstance(event := await _next_event(connection, protocol), h11.Data):
        body += event.data
        if len(body) > longest:
            return None
    return body


async def _send_body(connection: Connection, protocol: h11.Connection, body: bytes) -> None:
    """Send the body piece by piece, as the client reads it. To HEAD, h11 sends none."""
    writer = connection.writer
    writer.transport.set_write_buffer_limits(high=_PIECE)
    for at in range(0, len(body), _PIECE):
        writer.write(protocol.send(h11.Data(data=body[at : at + _PIECE])) or b"")
        async with _waiting_for(connection):
            await writer.drain()
    writer.write(protocol.send(h11.EndOfMessage()) or b"")


@asynccontextmanager
async def _waiting_for(connection: Connection) -> AsyncIterator[None]:
    """Wait for the client to read. After ``PATIENCE`` it counts as unused, until it reads again.

    Otherwise clients that do not read would keep out all others of their address, as behind one proxy or NAT.
    """
    timer = asyncio.get_running_loop().call_later(PATIENCE, setattr, connection, "engaged", False)
    try:
        yield
    finally:
        timer.cancel()
        connection.engaged = True


def _http_request(request: h11.Request, connection: Connection) -> HttpRequest:
    path, _, query = request.target.decode("latin-1").partition("?")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
    try:
        values = parse_qs(query, max_num_fields=1000)
    except ValueError:
        values = {}
    tls = connection.writer.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls else None
    source, method = str(connection.source[0]), request.method.decode("latin-1")
    return HttpRequest(unquote(path), values, headers, b"", source, certificate, method)


def _fields(response: HttpResponse) -> list[tuple[str, str]]:
    fields = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    replaced = {name for name, _ in response.headers}
    return [*(one for one in fields.items() if one[0] not in replaced), *response.headers]
