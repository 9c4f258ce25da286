"""The HTTP server, beyond what its pages show."""

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import pytest

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
