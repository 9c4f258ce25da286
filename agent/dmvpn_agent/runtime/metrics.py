"""What a metric is, and the metrics that any process has; every folder has those of its subject in its ``metrics``.

Labels are bounded: closed lists, or one value per peer. Certificate subjects appear on ``peer_info`` only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

PREFIX = "dmvpn_agent_"


class Kind(StrEnum):
    """Prometheus metric types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; ``name`` is without prefix and, for counters, without ``_total``.

    ``starts``: the label values of the series that exist from the start, at 0. ``buckets``: the upper bounds of a
    histogram's buckets, in rising order, without the last (infinity).
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    starts: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()


def counter(name: str, text: str, *labels: str, starts: Iterable[Sequence[str]] = ()) -> Metric:
    """Return a counter; ``name`` is without prefix and ``_total``.

    ``starts``: the label values of the series that exist from the start; see ``each``.
    """
    values = tuple(tuple(str(value) for value in one) for one in starts) if labels else ((),)
    return Metric(name, Kind.COUNTER, text, labels, values)


def each(*lists: Iterable[str]) -> Iterable[Sequence[str]]:
    """Return the label values of all combinations of closed lists, one list for each label."""
    return product(*lists)


def gauge(name: str, text: str, *labels: str) -> Metric:
    """Return a gauge."""
    return Metric(name, Kind.GAUGE, text, labels)


def histogram(
    name: str, text: str, *labels: str, buckets: tuple[float, ...], starts: Iterable[Sequence[str]] = ()
) -> Metric:
    """Return a histogram; ``starts`` as of ``counter``."""
    return Metric(name, Kind.HISTOGRAM, text, labels, counter(name, text, *labels, starts=starts).starts, buckets)


#: What is open: the values of the label ``listener``.
LISTENERS = ("control", "crl_mirror", "events", "metrics", "page")

BUILD_INFO = gauge("build_info", "Version of the running program; always 1.", "version", "process")
UNREADABLE = counter("unreadable", "Items from outside that could not be read and were skipped, by source.", "source")
START_TIME = gauge("start_time_seconds", "Unix time at which the process started.")
STORE_WRITABLE = gauge(
    "store_writable", "1 if the state files can be written, so that what the process stores survives a restart."
)
PART_FAILURES = counter(
    "part_failures", "Failures of a part of the process, each followed by a restart of that part.", "part"
)
LOOP_LAG = gauge("event_loop_lag_seconds", "Longest delay of the event loop in the last minute.")
CONNECTIONS_REFUSED = counter(
    "connections_refused",
    "Connections over the limit of a listener: refused, or an older one closed in its place.",
    "listener",
    "outcome",
    starts=each(LISTENERS, ("evicted", "refused")),
)
ACCEPT_FAILURES = counter(
    "accept_failures",
    "Connections that could not be accepted because the process had no file descriptor left.",
    "listener",
    starts=each(LISTENERS),
)
LOG_LINES_DROPPED = counter("log_lines_dropped", "Log lines that were dropped, by cause.", "cause")
CONFIG_RELOADS = counter(
    "config_reloads",
    "Reloads of the configuration by outcome.",
    "outcome",
    starts=each(("applied", "failed", "refused")),
)
CONFIG_LAST_RELOAD = gauge(
    "config_last_reload_successful", "1 if the last reload, or the start, put the configuration file in force."
)
HTTP_REQUESTS = counter("http_requests", "Requests to the HTTP ports by status.", "status",
                         starts=each(("200", "304", "400", "401", "404", "405", "421", "503")))  # fmt: skip
RENDER_SECONDS = counter("metrics_render_seconds", "CPU time spent on rendering the metrics.")
SOURCE_UP = gauge("source_up", "1 if the source could be read, or reached, the last time.", "source")
SOURCE_READ_DURATION = histogram(
    "source_read_duration_seconds",
    "Time of a read of a source, also of one that failed.",
    "source",
    buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
