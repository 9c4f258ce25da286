"""How many requests a source may send."""

from collections import OrderedDict
from dataclasses import dataclass

#: Sources that are remembered; a flood from more of them forgets the oldest, which has its whole burst again.
MAX_SOURCES = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimit:
    """Allows each source ``burst`` requests at once, and ``per_second`` over time."""

    def __init__(self, per_second: float, burst: int, max_sources: int = MAX_SOURCES) -> None:
        self._per_second = per_second
        self._burst = burst
        self._max_sources = max_sources
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admits(self, source: str, now: float) -> bool:
        """Count a request at a moment in seconds of a clock that never jumps; tell whether it is within the limit."""
        bucket = self._buckets.pop(source, None) or _Bucket(self._burst, now)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        self._buckets[source] = bucket
        while len(self._buckets) > self._max_sources:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True
