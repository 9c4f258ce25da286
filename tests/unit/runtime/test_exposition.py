"""What Prometheus scrapes."""

import asyncio
import contextlib
import errno
import gzip
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.exposition import MAX_CONNECTIONS, Exposition, served
from dmvpn_agent.runtime.telemetry import Telemetry


@pytest.fixture
def endpoint() -> Endpoint:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


@pytest.fixture
def exposition(endpoint: Endpoint, telemetry: Telemetry) -> Iterator[Exposition]:
    exposition = Exposition(endpoint, telemetry)
    exposition.start()
    yield exposition
    exposition.stop()


def _scrape(endpoint: Endpoint) -> str:
    with urlopen(f"http://{endpoint}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.usefixtures("exposition")
def test_counters_and_gauges_are_exposed(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """With prefix, ``_total`` and labels; text from a certificate cannot break out of its label."""
    telemetry.increment(admission_metrics.DECISIONS, "deny", "no_certificate", by=2)
    telemetry.observe(admission_metrics.PEER_INFO, lambda: {("10.255.0.2", "203.0.113.2", "64512", 'CN="x"\\'): 1})
    text = _scrape(endpoint)
    assert 'dmvpn_agent_decisions_total{decision="deny",reason="no_certificate"} 2.0' in text
    assert 'subject="CN=\\"x\\"\\\\"} 1.0' in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.usefixtures("exposition")
def test_a_label_is_printable(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """``curl`` writes it to a terminal, and an IKE identity may contain anything."""
    telemetry.observe(
        admission_metrics.PEER_INFO, lambda: {("10.255.0.2", "203.0.113.2", "64512", "\x1b[2J\u202e"): 1}
    )
    assert 'subject="\\\\x1b[2J\\\\u202e"} 1.0' in _scrape(endpoint)


def test_an_address_in_use_is_an_error_that_says_what_to_do(
    exposition: Exposition, endpoint: Endpoint, telemetry: Telemetry
) -> None:
    """Of two processes with one endpoint the first continues, and the second can bind it when it is free."""
    second = Exposition(endpoint, telemetry)
    with pytest.raises(OSError, match=f"cannot listen on {endpoint}: {os.strerror(errno.EADDRINUSE)}"):
        second.start()
    assert "# HELP" in _scrape(endpoint)
    exposition.stop()
    second.start()
    assert "# HELP" in _scrape(endpoint)
    second.stop()


@pytest.mark.usefixtures("exposition")
def test_connections_without_a_request_make_room(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """Of a thousand only a few hold a descriptor, and a scrape is answered beside them."""
    silent = [socket.create_connection((endpoint.host, endpoint.port)) for _ in range(1000)]
    own = len(list(Path("/proc/self/fd").iterdir())) - len(silent)
    assert "# HELP" in _scrape(endpoint)
    assert telemetry.value(runtime_metrics.CONNECTIONS_REFUSED, "metrics", "evicted") >= 1000 - MAX_CONNECTIONS
    assert own < 100
    for connection in silent:
        connection.close()


def test_a_client_that_does_not_finish_is_closed(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """Neither a slow request nor an answer that is not read holds a connection for long."""
    exposition = Exposition(endpoint, telemetry, timeout=0.1)
    exposition.start()
    with socket.create_connection((endpoint.host, endpoint.port), timeout=30) as slow:
        while not select.select([slow], [], [], 0.01)[0]:
            slow.send(b"G")
    with socket.create_connection((endpoint.host, endpoint.port), timeout=30) as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while deaf.recv(65536):
                pass
    exposition.stop()


@pytest.mark.usefixtures("exposition")
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 3, b"HTTP/1.1 200 OK"),
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789", b"HTTP/1.1 405 Method Not Allowed"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, b"HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
    ],
)
def test_any_request_gets_one_answer(request_: bytes, status: bytes, endpoint: Endpoint) -> None:
    """Pipelining, other methods, endless headers, TLS: one answer, then the connection is closed."""
    with socket.create_connection((endpoint.host, endpoint.port), timeout=30) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := client.recv(65536):
                answer += data
    assert answer.startswith(status)
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.usefixtures("exposition")
def test_the_requested_format_is_sent(endpoint: Endpoint) -> None:
    """OpenMetrics and compression, as Prometheus requests them."""
    wanted = Request(f"http://{endpoint}/metrics")
    wanted.add_header("Accept", "application/openmetrics-text; version=1.0.0")
    wanted.add_header("Accept-Encoding", "gzip")
    with urlopen(wanted, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert gzip.decompress(answer.read()).endswith(b"# EOF\n")


def test_the_address_is_free_after_the_stop(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """A restart can bind it."""
    for _ in range(2):
        exposition = Exposition(endpoint, telemetry)
        exposition.start()
        exposition.stop()


def test_nothing_waits_for_dns(endpoint: Endpoint, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reverse lookup that times out would cost five seconds at the start."""

    def ask(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("getfqdn", "gethostbyaddr", "getaddrinfo", "getnameinfo"):
        monkeypatch.setattr(socket, name, ask)
    exposition = Exposition(endpoint, telemetry)
    exposition.start()
    exposition.stop()


async def test_doctor_distinguishes_our_metrics_from_those_of_another_program(
    endpoint: Endpoint, telemetry: Telemetry
) -> None:
    """Ours have ``build_info``; another program may answer anything."""
    telemetry.observe(runtime_metrics.BUILD_INFO, lambda: {("1.0", "agent"): 1})
    assert await served(endpoint) is None
    exposition = Exposition(endpoint, telemetry)
    exposition.start()
    assert await served(endpoint) is True
    exposition.stop()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nfrr_up 1\n" + b"x" * 100_000)
        writer.close()

    async with await asyncio.start_server(answer, endpoint.host, endpoint.port):
        assert await served(endpoint) is False
