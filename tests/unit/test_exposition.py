"""What Prometheus is given."""

import socket
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from dmvpn_agent.adapters.exposition import Exposition
from dmvpn_agent.config_values import Endpoint
from dmvpn_agent.core import metrics
from dmvpn_agent.service.telemetry import Telemetry


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
    telemetry.increment(metrics.DECISIONS, "deny", "no_certificate", by=2)
    telemetry.observe(metrics.PEER_INFO, lambda: {("10.255.0.2", "203.0.113.2", "64512", 'CN="x"\\'): 1})
    text = _scrape(endpoint)
    assert 'dmvpn_agent_decisions_total{decision="deny",reason="no_certificate"} 2.0' in text
    assert 'subject="CN=\\"x\\"\\\\"} 1.0' in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.usefixtures("exposition")
def test_a_label_is_printable(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """``curl`` gives it to a terminal, and an IKE identity may hold anything."""
    telemetry.observe(metrics.PEER_INFO, lambda: {("10.255.0.2", "203.0.113.2", "64512", "\x1b[2J\u202e"): 1})
    assert 'subject="\\\\x1b[2J\\\\u202e"} 1.0' in _scrape(endpoint)


def test_an_address_in_use_is_an_error(exposition: Exposition, endpoint: Endpoint, telemetry: Telemetry) -> None:
    """Two processes with one endpoint: the second does not start, and the first goes on."""
    with pytest.raises(OSError, match="in use"):
        Exposition(endpoint, telemetry).start()
    assert "# HELP" in _scrape(endpoint)


def test_the_address_is_free_after_the_stop(endpoint: Endpoint, telemetry: Telemetry) -> None:
    """A restart finds it."""
    for _ in range(2):
        exposition = Exposition(endpoint, telemetry)
        exposition.start()
        exposition.stop()
