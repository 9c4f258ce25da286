"""The two clocks. They have different types, so that mypy refuses one in place of the other.

``Uptime`` measures intervals: it never jumps. ``Clock`` is the time of day, which an operator or NTP may set: it
decides on certificates and CRLs, and is what people read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

#: Returns the time of day, in UTC.
Clock = Callable[[], datetime]
#: Returns the time since some fixed moment; only differences mean something.
Uptime = Callable[[], timedelta]
#: The same in seconds, for what goes to asyncio.
Seconds = Callable[[], float]


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


def uptime() -> timedelta:
    """Return the time since some fixed moment, by the monotonic clock."""
    return timedelta(seconds=monotonic())


def in_seconds(clock: Uptime) -> Seconds:
    """Return the same clock in seconds."""
    return lambda: clock().total_seconds()


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both of one process."""

    now: Clock = utc_now
    uptime: Uptime = uptime

    def when(self, moment: timedelta) -> datetime:
        """Return the time of day at a moment of ``uptime``, for people."""
        return self.now() - (self.uptime() - moment)
