"""``/metrics`` for Prometheus, from the numbers in ``Telemetry``."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import unquote

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.metrics import PREFIX, Kind
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.runtime.stream_listener import Connection, StreamListener
from dmvpn_agent.runtime.telemetry import Telemetry

MAX_CONNECTIONS = 16
BACKLOG = 1024
#: Octets of a request, up to the empty line.
MAX_REQUEST = 16384
#: Seconds in which a client must send its request and read the answer.
TIMEOUT = 10.0
#: Rendering the page delays the thread that answers nhrpd, so it gets a quarter of the time: after each page the
#: server rests this many times as long as the page took.
REST = 3.0


class _TelemetryCollector(Collector):
    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        for metric in self._telemetry.metrics():
            kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = kind(PREFIX + metric.name, metric.help, labels=metric.labels)
            for labels, value in self._telemetry.samples(metric).items():
                family.add_metric([printable(label) for label in labels], value)
            yield family


class Exposition:
    """An HTTP server for scrapes, with its own thread and event loop; one request a connection.

    ``timeout``: seconds in which a client must send its request and read the answer.
    """

    def __init__(self, endpoint: Endpoint, telemetry: Telemetry, *, timeout: float = TIMEOUT) -> None:
        self._endpoint = endpoint
        self._telemetry = telemetry
        self._timeout = timeout
        registry = CollectorRegistry()
        registry.register(_TelemetryCollector(telemetry))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._page = make_wsgi_app(registry)
        self._turn = asyncio.Lock()
        self._rested = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, without waiting. Raises ``OSError``, which says what to do, if the address is not available."""
        listener = self._listen()
        self._loop = asyncio.new_event_loop()
        self._work = self._loop.create_task(self._serve(listener))
        self._thread = threading.Thread(target=self._run, args=(self._loop, self._work), name="metrics", daemon=True)
        self._thread.start()

    def _listen(self) -> socket.socket:
        """Bind the address. It is never a name, so nothing waits for DNS."""
        host, port = self._endpoint.host, self._endpoint.port
        family = socket.AF_INET if ip_address(host).version == 4 else socket.AF_INET6
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            text = (
                f"cannot listen on {self._endpoint}: {why}; stop the program that uses it (`ss -ltnp`), or configure"
                " another address or port"
            )
            raise OSError(error.errno, text) from error

    def stop(self) -> None:
        """Close the server."""
        if self._loop and self._work and self._thread:
            self._loop.call_soon_threadsafe(self._work.cancel)
            self._thread.join(self._timeout)
            self._thread = None

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop, work: asyncio.Task[None]) -> None:
        try:
            loop.run_until_complete(asyncio.gather(work, return_exceptions=True))
        finally:
            loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        server = StreamListener("metrics", self._answer, self._telemetry, limit=MAX_CONNECTIONS)
        server.start(listener)
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop()

    async def _answer(self, connection: Connection) -> None:
        async with asyncio.timeout(self._timeout):
            head = await self._head(connection.reader)
            connection.engaged = True
            refused = _refusal(head)
            connection.writer.write(f"HTTP/1.1 {refused}\r\n\r\n".encode() if refused else await self._page_for(head))
            connection.writer.write_eof()
            await connection.closed_by_client()

    @staticmethod
    async def _head(reader: asyncio.StreamReader) -> list[str]:
        """Return the lines of a request's head; none if it is too long or incomplete."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return []
        return head.decode("latin-1").split("\r\n")

    async def _page_for(self, head: list[str]) -> bytes:
        clock = asyncio.get_running_loop().time
        async with self._turn:
            await asyncio.sleep(self._rested - clock())
            began = clock()
            answer = self._written(_environment(head))
            self._rested = clock() + REST * (clock() - began)
        return answer

    def _written(self, environment: dict[str, str]) -> bytes:
        """Return the page as the library renders it, which knows formats and compression."""
        start: list[str] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
            start.extend([f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)])

        body = b"".join(self._page(environment, start_response))
        start += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        return "\r\n".join(start).encode("latin-1") + body


def _refusal(head: list[str]) -> str:
    """Return the HTTP status of a request that is refused; empty for one that receives the page."""
    if not head:
        return "400 Bad Request"
    # prometheus-client before 0.22 answers any method.
    return "" if head[0].startswith("GET ") else "405 Method Not Allowed"


def _environment(head: list[str]) -> dict[str, str]:
    """Return the WSGI environment of a request (PEP 3333), as far as the page depends on it."""
    method, _, target = head[0].partition(" ")
    path, _, query = target.rpartition(" ")[0].partition("?")
    fields = dict(line.lower().partition(":")[::2] for line in head[1:])
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote(path),
        "QUERY_STRING": query,
        "HTTP_ACCEPT": fields.get("accept", "").strip(),
        "HTTP_ACCEPT_ENCODING": fields.get("accept-encoding", "").strip(),
    }


async def served(endpoint: Endpoint) -> bool | None:
    """Return whether the agent or the bridge serves the address; ``None`` if nothing listens there."""
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(TIMEOUT):
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            while line := await reader.readline():
                if line.startswith(f"{PREFIX}build_info{{".encode()):
                    return True
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        writer.transport.abort()
    return False
