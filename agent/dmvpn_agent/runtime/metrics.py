"""What a metric is, and the metrics that any process has; every folder has those of its subject in its ``metrics``.

Labels are bounded: closed lists, or one value per peer. Certificate subjects appear on ``peer_info`` only.
"""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "dmvpn_agent_"


class Kind(StrEnum):
    """Prometheus metric types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family; ``name`` is without prefix and, for counters, without ``_total``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def counter(name: str, text: str, *labels: str) -> Metric:
    """Return a counter; ``name`` is without prefix and ``_total``."""
    return Metric(name, Kind.COUNTER, text, labels)


def gauge(name: str, text: str, *labels: str) -> Metric:
    """Return a gauge."""
    return Metric(name, Kind.GAUGE, text, labels)


BUILD_INFO = gauge("build_info", "Version of the running program; always 1.", "version", "process")
UNREADABLE = counter("unreadable", "Items from outside that could not be read and were skipped, by source.", "source")
START_TIME = gauge("start_time_seconds", "Unix time at which the process started.")
STORE_WRITABLE = gauge(
    "store_writable", "1 if the state file can be written, so that what the process stores survives a restart."
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
)
ACCEPT_FAILURES = counter(
    "accept_failures",
    "Connections that could not be accepted because the process had no file descriptor left.",
    "listener",
)
LOG_LINES_DROPPED = counter("log_lines_dropped", "Log lines that were dropped, by cause.", "cause")
CONFIG_RELOADS = counter("config_reloads", "Reloads of the configuration by outcome.", "outcome")
