"""Counters and histograms as plain numbers; what a part keeps itself is read when it is asked for.

Code that counts knows neither Prometheus nor threads. The exposition reads ``families`` from its own thread, which is
safe because it receives copies.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from types import ModuleType
from typing import NoReturn, TypeVar

from dmvpn_agent.runtime.metrics import Kind, Metric

Labels = tuple[str, ...]
Samples = dict[Labels, float]

K = TypeVar("K")
V = TypeVar("V")


def _raise(_: Metric, error: Exception) -> NoReturn:
    raise error


@dataclass(slots=True)
class _Distribution:
    """One series of a histogram: how many values are in each bucket, the last of which has no upper bound."""

    counts: list[int]
    total: float = 0


@dataclass(frozen=True, slots=True)
class Distribution:
    """A copy of one series of a histogram: ``counts`` are cumulative, one for each bucket and one for all values."""

    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Family:
    """The present values of one metric; ``distributions`` if it is a histogram."""

    metric: Metric
    samples: Samples = field(default_factory=dict)
    distributions: dict[Labels, Distribution] = field(default_factory=dict)


class Telemetry:
    """The values of all metrics of one process.

    If reading a metric raises an exception, the metric is left out and ``read_failed`` is called with the exception.
    By default the exception is raised.
    """

    def __init__(self, read_failed: Callable[[Metric, Exception], None] = _raise) -> None:
        self._counters: dict[Metric, Samples] = {}
        self._histograms: dict[Metric, dict[Labels, _Distribution]] = {}
        self._gauges: dict[Metric, Samples] = {}
        self._read: dict[Metric, Callable[[], Samples]] = {}
        self._groups: dict[tuple[Metric, ...], Callable[[], Mapping[Metric, Samples]]] = {}
        self._read_failed = read_failed

    def expect(self, *wanted: Metric | ModuleType) -> None:
        """Start the counters and histograms of closed labels at 0; of a module, all that it defines."""
        for item in wanted:
            found = vars(item).values() if isinstance(item, ModuleType) else (item,)
            for metric in found:
                if isinstance(metric, Metric):
                    self._start(metric)

    def increment(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter; the labels are given in the order of the catalogue.

        Raises ``ValueError`` if the metric is not a counter, or has another number of labels: a programming error.
        """
        if metric.kind is not Kind.COUNTER or len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} takes the labels {metric.labels}, not {labels}")
        samples = self._counters.setdefault(metric, {})
        samples[labels] = samples.get(labels, 0) + by

    def record(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram. Raises ``ValueError`` as ``increment`` does."""
        if metric.kind is not Kind.HISTOGRAM or len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} takes the labels {metric.labels}, not {labels}")
        series = self._distribution(metric, labels)
        series.counts[bisect_left(metric.buckets, value)] += 1
        series.total += value

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge. Raises ``ValueError`` as ``increment`` does."""
        if metric.kind is not Kind.GAUGE or len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} takes the labels {metric.labels}, not {labels}")
        self._gauges.setdefault(metric, {})[labels] = float(value)

    def observe(self, metric: Metric, read: Callable[[], Samples | float | bool]) -> None:
        """Read a metric by ``read``, which returns one number or numbers by label values.

        A counter that is read must not decrease, nor be incremented here as well.
        """

        def samples() -> Samples:
            value = read()
            return dict(value) if isinstance(value, dict) else {(): float(value)}

        self._read[metric] = samples

    def observe_together(self, metrics: Iterable[Metric], read: Callable[[], Mapping[Metric, Samples]]) -> None:
        """Read several metrics by one call of ``read``, so that they are of one moment."""
        self._groups[tuple(metrics)] = read

    def value(self, metric: Metric, *labels: str) -> float:
        """Return one current value; 0 if nothing was counted yet. Of a histogram: the number of values."""
        for family in self._families(metric):
            if metric.kind is Kind.HISTOGRAM:
                series = family.distributions.get(labels)
                return series.counts[-1] if series else 0
            return family.samples.get(labels, 0)
        return 0

    def samples(self, metric: Metric) -> Samples:
        """Return all current values of a metric."""
        return next((family.samples for family in self._families(metric)), {})

    def families(self) -> Iterator[Family]:
        """Yield the metrics that this process has counted or can read, with their current values."""
        yield from self._families()

    def _families(self, only: Metric | None = None) -> Iterator[Family]:
        for metric, samples in [*self._counters.items(), *self._gauges.items()]:
            if only in {None, metric}:
                yield Family(metric, dict(samples))
        for metric, distributions in list(self._histograms.items()):
            if only in {None, metric}:
                yield Family(metric, distributions=_copied(distributions))
        for metric, read in list(self._read.items()):
            if only in {None, metric}:
                yield Family(metric, dict(self._contained(metric, read)))
        for metrics, read_all in list(self._groups.items()):
            if only is None or only in metrics:
                found = self._contained(metrics[0], read_all)
                yield from (Family(one, dict(found.get(one, {}))) for one in metrics if only in {None, one})

    def _contained(self, metric: Metric, read: Callable[[], Mapping[K, V]]) -> Mapping[K, V]:
        try:
            return read()
        except Exception as error:
            self._read_failed(metric, error)
            return {}

    def _start(self, metric: Metric) -> None:
        for labels in metric.starts:
            if metric.kind is Kind.COUNTER and metric not in self._read:
                self._counters.setdefault(metric, {}).setdefault(labels, 0)
            elif metric.kind is Kind.HISTOGRAM:
                self._distribution(metric, labels)

    def _distribution(self, metric: Metric, labels: Labels) -> _Distribution:
        of_metric = self._histograms.setdefault(metric, {})
        if labels not in of_metric:
            of_metric[labels] = _Distribution([0] * (len(metric.buckets) + 1))
        return of_metric[labels]


def _copied(distributions: dict[Labels, _Distribution]) -> dict[Labels, Distribution]:
    return {
        labels: Distribution(tuple(accumulate(tuple(series.counts))), series.total)
        for labels, series in list(distributions.items())
    }
