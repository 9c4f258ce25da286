"""What Prometheus scrapes."""

import base64
import contextlib
import errno
import gzip
import os
import re
import resource
import select
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.exposition import Exposition
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.runtime.http_server import MAX_CONNECTIONS
from dmvpn_agent.runtime.process_metrics import observe_process
from dmvpn_agent.runtime.readiness import Readiness
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view import metrics as view_metrics
from pki import server_files


@pytest.fixture
def endpoint() -> Endpoint:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


@contextlib.contextmanager
def _running(exposition: Exposition) -> Iterator[None]:
    exposition.start()
    try:
        yield
    finally:
        exposition.stop()


def _get(endpoint: Endpoint, path: str, authorization: str = "") -> tuple[int, str]:
    try:
        with urlopen(
            Request(f"http://{endpoint}{path}", headers={"Authorization": authorization}), timeout=30
        ) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def _basic(credential: str) -> str:
    return f"Basic {base64.b64encode(credential.encode()).decode()}"


def _open(endpoint: Endpoint) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((endpoint.host, endpoint.port)) == 0


@pytest.fixture
def exposition(endpoint: Endpoint, telemetry: Telemetry) -> Iterator[Exposition]:
    exposition = Exposition(endpoint, HttpAccess(), telemetry, Readiness())
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
    telemetry.observe(view_metrics.PEER_INFO, lambda: {(*["x"] * 6, 'CN="x"\\'): 1})
    text = _scrape(endpoint)
    assert 'dmvpn_agent_decisions_total{decision="deny",reason="no_certificate"} 2' in text
    assert 'subject="CN=\\"x\\"\\\\"} 1' in text


@pytest.mark.usefixtures("exposition")
def test_a_label_is_printable(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """``curl`` writes it to a terminal, and an IKE identity may contain anything."""
    telemetry.observe(view_metrics.PEER_INFO, lambda: {(*["x"] * 6, "\x1b[2J\u202e"): 1})
    assert 'subject="\\\\x1b[2J\\\\u202e"} 1' in _scrape(endpoint)


@pytest.mark.usefixtures("exposition")
def test_the_figures_of_the_process_are_those_of_the_kernel(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """With the names that Prometheus' client libraries use."""
    observe_process(telemetry)
    figures = dict(line.split() for line in _scrape(endpoint).splitlines() if line.startswith("process_"))
    assert float(figures["process_cpu_seconds_total"]) == pytest.approx(sum(os.times()[:2]), abs=1)
    assert int(float(figures["process_open_fds"])) > 3
    assert float(figures["process_max_fds"]) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    used = float(figures["process_resident_memory_bytes"])
    assert 0 < used < most * 1.2  # the kernel updates both now and then only
    assert used < float(figures["process_virtual_memory_bytes"])
    assert utc_now().timestamp() - 86400 < float(figures["process_start_time_seconds"]) < utc_now().timestamp() + 1


def test_an_address_in_use_is_an_error_that_says_what_to_do(
    exposition: Exposition, endpoint: Endpoint, telemetry: Telemetry
) -> None:
    """Of two processes with one endpoint the first continues, and the second can bind it when it is free."""
    second = Exposition(endpoint, HttpAccess(), telemetry, Readiness())
    with pytest.raises(OSError, match=f"cannot listen on {endpoint}: {os.strerror(errno.EADDRINUSE)}"):
        second.start()
    _scrape(endpoint)
    exposition.stop()
    second.start()
    _scrape(endpoint)
    second.stop()


@pytest.mark.usefixtures("exposition")
def test_connections_without_a_request_make_room(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """Of a thousand only a few hold a descriptor, and a scrape is answered beside them."""
    silent = [socket.create_connection((endpoint.host, endpoint.port)) for _ in range(1000)]
    for connection in silent[:500]:
        connection.send(b"G")  # the kernel hands over a connection with its first octet
    own = len(list(Path("/proc/self/fd").iterdir())) - len(silent)
    _scrape(endpoint)
    assert telemetry.value(runtime_metrics.CONNECTIONS_REFUSED, "metrics", "evicted") >= 500 - MAX_CONNECTIONS
    assert own < 200
    for connection in silent:
        connection.close()


@pytest.mark.usefixtures("exposition")
def test_silent_clients_hold_no_descriptor(endpoint: Endpoint) -> None:
    """The kernel keeps them: a hundred scrapes beside a thousand of them are all answered."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    silent = [socket.create_connection((endpoint.host, endpoint.port)) for _ in range(1000)]
    for _ in range(100):
        _scrape(endpoint)
    assert len(list(Path("/proc/self/fd").iterdir())) - len(silent) - before < 20
    for connection in silent:
        connection.close()


def test_a_client_that_closes_without_a_request_is_no_failure(
    exposition: Exposition, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    """A load balancer checks the port so; nothing is logged."""
    for part in (b"", b"GET /met"):
        with socket.create_connection((endpoint.host, endpoint.port)) as client:
            client.sendall(part)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    exposition.stop()
    assert "connection_failed" not in capsys.readouterr().out


def test_a_client_that_does_not_finish_is_closed(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """Neither a slow request nor an answer that is not read holds a connection for long."""
    exposition = Exposition(endpoint, HttpAccess(), telemetry, Readiness(), timeout=0.1)
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
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /metrics/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (
            b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
            b"HTTP/1.1 405 Method Not Allowed",
        ),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, b"HTTP/1.1 431 Request Header Fields Too Large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
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


@pytest.mark.usefixtures("exposition")
def test_prometheus_can_read_both_formats(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """Its own client library parses what is sent, with the same values."""
    telemetry.expect(admission_metrics, runtime_metrics)
    telemetry.increment(admission_metrics.DECISIONS, "deny", "no_certificate", by=2)
    telemetry.record(admission_metrics.DECISION_DURATION, 0.3, "accept")
    telemetry.set(runtime_metrics.SOURCE_UP, float("inf"), 'a"\\')
    for accept, parse in (
        ("text/plain", text_string_to_metric_families),
        ("application/openmetrics-text", openmetrics.text_string_to_metric_families),
    ):
        with urlopen(Request(f"http://{endpoint}/metrics", headers={"Accept": accept}), timeout=30) as answer:
            families = list(parse(answer.read().decode()))
        samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }
        name = "dmvpn_agent_decision"
        assert samples[f"{name}s_total", ("decision", "deny"), ("reason", "no_certificate")] == 2
        assert samples[f"{name}s_total", ("decision", "deny"), ("reason", "untrusted_issuer")] == 0
        assert samples[f"{name}_duration_seconds_bucket", ("decision", "accept"), ("le", "0.25")] == 0
        assert samples[f"{name}_duration_seconds_bucket", ("decision", "accept"), ("le", "0.5")] == 1
        assert samples[f"{name}_duration_seconds_sum", ("decision", "accept")] == 0.3
        assert samples["dmvpn_agent_source_up", ("source", 'a"\\')] == float("inf")
        assert {family.type for family in families} >= {"counter", "gauge", "histogram"}


@pytest.mark.usefixtures("exposition")
def test_a_scrape_may_select_metrics(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """By the name of a metric, or of its samples."""
    telemetry.expect(admission_metrics, runtime_metrics)
    with urlopen(
        f"http://{endpoint}/metrics?name[]=dmvpn_agent_decisions&name[]=dmvpn_agent_decision_duration_seconds_count",
        timeout=30,
    ) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    assert {family.name for family in families} == {
        "dmvpn_agent_decisions",
        "dmvpn_agent_decision_duration_seconds",
    }


@pytest.mark.usefixtures("exposition")
def test_head_has_the_header_of_get(endpoint: Endpoint) -> None:
    """And no body."""
    found = []
    for method in ("GET", "HEAD"):
        with urlopen(Request(f"http://{endpoint}/", method=method), timeout=30) as answer:
            found.append((answer.status, answer.headers["Content-Length"], answer.headers["Content-Type"]))
            body = answer.read()
    assert found[0] == found[1]
    assert int(found[0][1]) > 0
    assert body == b""


def test_the_landing_page_links_to_the_others(exposition: Exposition, endpoint: Endpoint) -> None:
    """Each link of it is answered."""
    with urlopen(f"http://{endpoint}/", timeout=30) as answer:
        links = re.findall(r'href="([^"]+)"', answer.read().decode())
    assert set(links) == {"/metrics", "/healthz", "/readyz"}
    for link in links:
        with urlopen(f"http://{endpoint}{link}", timeout=30) as answer:
            assert answer.status == 200


def test_readiness_names_what_is_wrong(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """503 and a line for each trouble; a check that fails is one."""
    readiness = Readiness()
    readiness.add("charon", lambda: "not connected")
    readiness.add("nhrpd", lambda: "")
    readiness.add("bgpd", lambda: str(1 // 0))
    with _running(Exposition(endpoint, HttpAccess(), telemetry, readiness)):
        status, text = _get(endpoint, "/readyz")
    assert status == 503
    assert text.splitlines()[0] == "charon: not connected"
    assert text.splitlines()[1].startswith("bgpd: unknown: ZeroDivisionError")


def test_a_hanging_event_loop_is_not_healthy(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """The pages have a thread of their own, which notices."""
    with _running(Exposition(endpoint, HttpAccess(), telemetry, Readiness(lambda: 11.0))):
        assert _get(endpoint, "/healthz")[0] == 503
    with _running(Exposition(endpoint, HttpAccess(), telemetry, Readiness(lambda: 0.2))):
        assert _get(endpoint, "/healthz") == (200, "healthy\n")


def test_a_password_or_a_token_is_asked_for(endpoint: Endpoint, telemetry: Telemetry, tmp_path: Path) -> None:
    """Either; only ``/healthz`` needs none. A changed file counts at once, a missing one refuses everybody."""
    users, token = tmp_path / "users", tmp_path / "token"
    users.write_text("# scrapers\nprometheus:s3:cret\n")
    token.write_text("abc\n")
    with _running(Exposition(endpoint, HttpAccess(users=users, token=token), telemetry, Readiness())):
        for header in ("", "Bearer abd", "Bearer", "Basic !", _basic("prometheus:s3"), _basic(""), "Basic \xff"):
            assert _get(endpoint, "/metrics", header)[0] == 401
        assert _get(endpoint, "/metrics", "Bearer abc")[0] == 200
        assert _get(endpoint, "/metrics", _basic("prometheus:s3:cret"))[0] == 200
        assert _get(endpoint, "/readyz")[0] == 401
        assert _get(endpoint, "/healthz")[0] == 200
        token.write_text("a new one\n")
        assert _get(endpoint, "/metrics", "Bearer abc")[0] == 401
        assert _get(endpoint, "/metrics", "Bearer a new one")[0] == 200
        token.unlink()
        assert _get(endpoint, "/metrics", _basic("prometheus:s3:cret"))[0] == 503


@pytest.mark.parametrize("text", ["", "\n# nobody\n", "x" * 70000, "nocolon"])
def test_a_file_of_users_without_users_is_an_error(
    endpoint: Endpoint, telemetry: Telemetry, tmp_path: Path, text: str
) -> None:
    """The port stays closed: an empty file is not taken for no authentication."""
    users = tmp_path / "users"
    users.write_text(text)
    with pytest.raises(OSError, match="users"):
        Exposition(endpoint, HttpAccess(users=users), telemetry, Readiness()).start()
    assert _open(endpoint) is False


def test_tls(endpoint: Endpoint, telemetry: Telemetry, tmp_path: Path) -> None:
    """A client that checks the certificate is served; one without TLS is not, and a silent one delays nobody."""
    certificate, key = server_files(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    telemetry.observe(runtime_metrics.BUILD_INFO, lambda: {("1.0", "agent"): 1})
    access = HttpAccess(certificate=certificate, key=key)
    with _running(Exposition(endpoint, access, telemetry, Readiness())):
        with socket.create_connection((endpoint.host, endpoint.port)) as silent:
            silent.send(b"\x16")
            with urlopen(f"https://localhost:{endpoint.port}/metrics", context=context, timeout=30) as answer:
                assert answer.read().count(b"# TYPE") == 1
        with pytest.raises(OSError, match=r"reset|closed|peer"):
            urlopen(f"http://{endpoint}/metrics", timeout=30)


def test_a_client_must_show_a_certificate_of_the_ca(endpoint: Endpoint, telemetry: Telemetry, tmp_path: Path) -> None:
    """One without, or with another one, is refused."""
    (tmp_path / "other").mkdir()
    certificate, key = server_files(tmp_path)
    access = HttpAccess(certificate=certificate, key=key, client_ca=certificate)
    with _running(Exposition(endpoint, access, telemetry, Readiness())):
        for shown, is_served in (
            (None, False),
            (server_files(tmp_path / "other"), False),
            ((certificate, key), True),
        ):
            context = ssl.create_default_context(cafile=str(certificate))
            if shown:
                context.load_cert_chain(*map(str, shown))
            try:
                with urlopen(f"https://localhost:{endpoint.port}/metrics", context=context, timeout=30) as answer:
                    assert (answer.status, is_served) == (200, True)
            except OSError:
                assert not is_served


def test_an_unusable_certificate_is_an_error_that_names_it(
    endpoint: Endpoint, telemetry: Telemetry, tmp_path: Path
) -> None:
    """The port stays closed."""
    for access in (HttpAccess(certificate=tmp_path / "no"), HttpAccess(certificate=Path(__file__))):
        with pytest.raises(OSError, match=str(access.certificate)):
            Exposition(endpoint, access, telemetry, Readiness()).start()
    assert _open(endpoint) is False


def test_the_address_is_free_after_the_stop(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """A restart can bind it."""
    for _ in range(2):
        exposition = Exposition(endpoint, HttpAccess(), telemetry, Readiness())
        exposition.start()
        exposition.stop()


def test_nothing_waits_for_dns(endpoint: Endpoint, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reverse lookup that times out would cost five seconds at the start."""

    def ask(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("getfqdn", "gethostbyaddr", "getaddrinfo", "getnameinfo"):
        monkeypatch.setattr(socket, name, ask)
    exposition = Exposition(endpoint, HttpAccess(), telemetry, Readiness())
    exposition.start()
    exposition.stop()
