"""Whether a source can be read, and how long that takes: a daemon, or a set of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.telemetry import Telemetry


class SourceName(StrEnum):
    """What a process reads. The list is closed: it is also a metric's label."""

    CHARON = "charon"
    NHRPD = "nhrpd"
    BGPD = "bgpd"
    NFTABLES = "nftables"
    TRUST = "trust"


class Source:
    """One source. Its series begin with the first read."""

    def __init__(self, name: SourceName, telemetry: Telemetry) -> None:
        self._name = name
        self._telemetry = telemetry

    @contextmanager
    def read(self) -> Iterator[None]:
        """Time the block, which reads the source; an exception means that it could not be read."""
        began, read = monotonic(), False
        try:
            yield
            read = True
        finally:
            self._telemetry.record(metrics.SOURCE_READ_DURATION, monotonic() - began, self._name)
            self.note(read)

    def note(self, up: bool) -> None:
        """Note whether the source can be read now."""
        self._telemetry.set(metrics.SOURCE_UP, up, self._name)
