"""Limits of the log, as structlog processors: the length of a line, and the rate of one event."""

import json
import os
import stat
import time
from collections.abc import Callable

import structlog

#: busybox's ``logger`` and many syslog daemons cut or split longer lines.
SYSLOG_LINE = 1000
#: journald takes 48 KiB, files and terminals any length.
LONG_LINE = 16384
#: Keys of which the end is kept: a traceback ends with the error.
_KEEP_END = frozenset({"exception"})
#: Keys that are never cut: operators search by them.
_KEEP_WHOLE = frozenset({"event", "level", "timestamp"})
_SHORTEST = 8

#: Lines of one event that may come at once, and per second after that: at most some 90,000 a day. A hub with 1,000
#: peers logs one event for each when it starts.
FLOOD_BURST = 2000
FLOOD_RATE = 1.0


def line_limit(descriptor: int) -> int:
    """Return how long a line may be, in bytes: shorter into a pipe, whose reader is usually ``logger``."""
    try:
        piped = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return SYSLOG_LINE
    return SYSLOG_LINE if piped else LONG_LINE


class LineLimit:
    """Cuts the longest values of an event until its line as JSON has at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __call__(self, _: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Return the event, cut if it is too long: an ellipsis ends a cut value, and begins a cut traceback."""
        most = self._limit
        shown = event
        while len(json.dumps(shown, default=str)) >= self._limit and most > _SHORTEST:
            most //= 2
            shown = {key: _cut(key, value, most) for key, value in event.items()}
        if len(json.dumps(shown, default=str)) < self._limit:
            return shown
        return {key: str(value)[:100] for key, value in event.items() if key in _KEEP_WHOLE} | {"cut": True}


def _cut(key: str, value: object, most: int) -> object:
    if key in _KEEP_WHOLE or value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if len(text) <= most:
        return value
    return f"…{text[-most:]}" if key in _KEEP_END else f"{text[:most]}…"


class FloodLimit:
    """Drops events of a name that comes too often; the next line of that name has their number as ``suppressed``."""

    def __init__(
        self, burst: int = FLOOD_BURST, rate: float = FLOOD_RATE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float, int]] = {}
        self.dropped = 0

    def __call__(self, _: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Return the event. Raises ``structlog.DropEvent``."""
        name, now = str(event["event"]), self._clock()
        tokens, since, suppressed = self._buckets.get(name, (float(self._burst), now, 0))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        if tokens < 1:
            self._buckets[name] = tokens, now, suppressed + 1
            self.dropped += 1
            raise structlog.DropEvent
        self._buckets[name] = tokens - 1, now, 0
        return {**event, "suppressed": suppressed} if suppressed else event
