"""The two clocks. Their types differ, so that mypy refuses one in place of the other.

``Uptime`` measures intervals: it never jumps. ``Clock`` is the time of day, which an operator or NTP may set; it is
for certificates, CRLs and everything that people read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

#: Returns the time of day, in UTC.
Clock = Callable[[], datetime]
#: Returns the time since some fixed moment; only differences have a meaning.
Uptime = Callable[[], timedelta]
#: The same in seconds, as asyncio takes it.
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
    """Both clocks of a process."""

    now: Clock = utc_now
    uptime: Uptime = uptime

    def when(self, moment: timedelta) -> datetime:
        """Return the time of day at a moment of ``uptime``."""
        return self.now() - (self.uptime() - moment)
