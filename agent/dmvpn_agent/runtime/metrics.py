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
START_TIME = gauge("start_time_seconds", "When the process started, Unix time.")
STORE_WRITABLE = gauge("store_writable", "Whether what this process stores survives a restart.")
PART_FAILURES = counter("part_failures", "Times a part of the process failed and was started again.", "part")
LOOP_LAG = gauge("event_loop_lag_seconds", "Longest delay of the event loop in the last minute.")
CONNECTIONS_REFUSED = counter("connections_refused", "Connections beyond what a listener serves at once: refused, or"
                               " an older one evicted.", "listener", "outcome")  # fmt: skip
ACCEPT_FAILURES = counter("accept_failures", "Times a connection could not be accepted, for want of descriptors.",
                           "listener")  # fmt: skip
LOG_LINES_DROPPED = counter("log_lines_dropped", "Lines that could not be logged, by cause.", "cause")
CONFIG_RELOADS = counter("config_reloads", "Times the configuration was read again.", "outcome")
