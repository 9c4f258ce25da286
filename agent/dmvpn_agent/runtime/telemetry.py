"""Counters as plain numbers; gauges, and counters that a part keeps itself, are read when they are asked for.

Code that counts knows neither Prometheus nor threads. The exposition reads ``samples`` from its own thread, which is
safe because it receives a copy of a family's values.
"""

from collections.abc import Callable, Iterable
from typing import NoReturn

from dmvpn_agent.runtime.metrics import Kind, Metric

Labels = tuple[str, ...]
Samples = dict[Labels, float]


def _raise(_: Metric, error: Exception) -> NoReturn:
    raise error


class Telemetry:
    """The values of all metrics of one process.

    If reading a metric raises an exception, the metric is left out and ``read_failed`` is called with the exception.
    By default the exception is raised.
    """

    def __init__(self, read_failed: Callable[[Metric, Exception], None] = _raise) -> None:
        self._counters: dict[Metric, Samples] = {}
        self._read: dict[Metric, Callable[[], Samples]] = {}
        self._read_failed = read_failed

    def increment(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter; the labels are given in the order of the catalogue.

        Raises ``ValueError`` if the metric is not a counter, or has another number of labels: a programming error.
        """
        if metric.kind is not Kind.COUNTER or len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} takes the labels {metric.labels}, not {labels}")
        samples = self._counters.setdefault(metric, {})
        samples[labels] = samples.get(labels, 0) + by

    def observe(self, metric: Metric, read: Callable[[], Samples | float | bool]) -> None:
        """Read a metric by ``read``, which returns one number or numbers by label values.

        A counter that is read must not decrease, nor be incremented here as well.
        """

        def samples() -> Samples:
            value = read()
            return dict(value) if isinstance(value, dict) else {(): float(value)}

        self._read[metric] = samples

    def value(self, metric: Metric, *labels: str) -> float:
        """Return one current value; 0 if nothing was counted yet."""
        return self.samples(metric).get(labels, 0)

    def samples(self, metric: Metric) -> Samples:
        """Return all current values of a metric."""
        if metric in self._read:
            try:
                return self._read[metric]()
            except Exception as error:
                self._read_failed(metric, error)
                return {}
        if metric.kind is Kind.GAUGE:
            return {}
        zero: Samples = {} if metric.labels else {(): 0}
        return dict(self._counters.get(metric, zero))

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics this process has counted or can read."""
        return [*self._counters, *self._read]
