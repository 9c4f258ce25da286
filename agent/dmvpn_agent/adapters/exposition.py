"""``/metrics`` for Prometheus, from the telemetry's plain numbers."""

import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from dmvpn_agent.config_values import Endpoint
from dmvpn_agent.core.metrics import PREFIX, Kind
from dmvpn_agent.core.printable import printable
from dmvpn_agent.service.telemetry import Telemetry


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
    """An HTTP server for scrapes, in a thread of its own."""

    def __init__(self, endpoint: Endpoint, telemetry: Telemetry) -> None:
        self._endpoint = endpoint
        self._registry = CollectorRegistry()
        self._registry.register(_TelemetryCollector(telemetry))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises ``OSError`` where the address cannot be had."""
        # The pair is returned since prometheus-client 0.20.
        started: Any = start_http_server(self._endpoint.port, self._endpoint.host, self._registry)
        self._server, self._thread = started

    def stop(self) -> None:
        """Close the server."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None
