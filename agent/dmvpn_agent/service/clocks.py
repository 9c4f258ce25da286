"""The two clocks. They have different types, so that mypy refuses one in place of the other.

``Monotonic`` measures intervals: it never jumps. ``Clock`` is the time of day, which an operator or NTP may set: it
decides on certificates and CRLs, and is what people read.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic as monotonic  # noqa: PLC0414  exported

#: Returns the time of day, in UTC.
Clock = Callable[[], datetime]
#: Returns seconds since some fixed moment; only differences mean something.
Monotonic = Callable[[], float]


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)
