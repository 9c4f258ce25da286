"""The HTTP server, beyond what its pages show."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dmvpn_agent.runtime import http_server, metrics
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import AccessGuard, HttpAccess
from dmvpn_agent.runtime.http_server import HttpServer
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Site
from dmvpn_agent.runtime.telemetry import Telemetry
from pki import server_files

BODY = bytes(range(256)) * 32768  # 8 MiB


@pytest.fixture
def endpoint() -> Endpoint:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


async def _page(_: HttpRequest) -> HttpResponse:
    return HttpResponse(BODY)


@pytest.mark.parametrize("tls", [True, False])
def test_of_a_large_answer_little_waits_for_a_client(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """However slowly it reads, it gets all of it; the server does not hold a copy for each client."""
    certificate, key = server_files(tmp_path)
    waiting: list[int] = []
    write = asyncio.StreamWriter.write

    def noted(writer: asyncio.StreamWriter, data: bytes) -> None:
        if threading.current_thread().name == "metrics":
            waiting.append(writer.transport.get_write_buffer_size() + len(data))
        write(writer, data)

    monkeypatch.setattr(asyncio.StreamWriter, "write", noted)
    guard = AccessGuard(HttpAccess(certificate=certificate, key=key) if tls else HttpAccess(), "metrics")
    server = HttpServer(endpoint, guard, Site({"/": _page}), Telemetry())
    server.start()
    try:
        got = asyncio.run(_slowly(endpoint, ssl.create_default_context(cafile=certificate) if tls else None))
    finally:
        server.stop()
    assert got.partition(b"\r\n\r\n")[2] == BODY
    assert max(waiting) < 300_000


async def _slowly(endpoint: Endpoint, context: ssl.SSLContext | None) -> bytes:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context, limit=4096)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = bytearray()
    while piece := await reader.read(32768):
        got += piece
    writer.close()
    return bytes(got)


async def _is_served(endpoint: Endpoint) -> bool:
    """Tell whether the whole answer comes, or the connection is refused."""
    try:
        return (await _slowly(endpoint, None)).endswith(BODY)
    except ConnectionError:
        return False


@asynccontextmanager
async def _beside_clients_that_do_not_read(
    endpoint: Endpoint, telemetry: Telemetry, address: str, unread: bytes
) -> AsyncIterator[None]:
    """Serve BODY while clients at an address do not read theirs: so many that one is refused."""

    async def other(_: HttpRequest) -> HttpResponse:
        return HttpResponse(unread)

    site = Site({"/": _page, "/other": other})
    server = HttpServer(endpoint, AccessGuard(HttpAccess(), "metrics"), site, telemetry, timeout=600)
    server.start()
    clients: list[socket.socket] = []
    try:
        async with asyncio.timeout(60):
            while not telemetry.value(metrics.CONNECTIONS_REFUSED, "metrics", "refused"):
                clients.append(socket.create_connection((endpoint.host, endpoint.port), source_address=(address, 0)))
                clients[-1].sendall(b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await asyncio.sleep(0.001)
            yield
    finally:
        for client in clients:
            client.close()
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("unread", [BODY, b"little"])
async def test_clients_that_do_not_read_make_room_for_others_of_their_address(
    endpoint: Endpoint, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, unread: bytes
) -> None:
    """A browser behind the same proxy is served long before their time is over."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 8)
    async with _beside_clients_that_do_not_read(endpoint, telemetry, "127.0.0.1", unread):
        while not await _is_served(endpoint):
            await asyncio.sleep(0.01)


async def test_clients_of_one_address_do_not_take_all_the_room(
    endpoint: Endpoint, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client at another address is served at once, and nobody is put out for it."""
    monkeypatch.setattr(http_server, "MAX_FROM_ONE_ADDRESS", 4)
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(http_server, "PATIENCE", 600)
    async with _beside_clients_that_do_not_read(endpoint, telemetry, "127.0.0.2", BODY):
        before = telemetry.value(metrics.CONNECTIONS_REFUSED, "metrics", "evicted")
        assert await _is_served(endpoint)
        assert telemetry.value(metrics.CONNECTIONS_REFUSED, "metrics", "evicted") == before
