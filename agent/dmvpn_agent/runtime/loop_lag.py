"""How late the event loop is: work without a pause delays everything else, also answers to nhrpd."""

import asyncio
from collections import deque
from time import monotonic

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.clocks import Seconds
from dmvpn_agent.runtime.telemetry import Telemetry

#: Seconds between two measurements, and seconds for which one counts. Ten a second would be a tenth of all that an
#: idle agent does.
INTERVAL, WINDOW = 0.25, 60.0


class LoopLag:
    """Measures by how much a short sleep is too long, and exports the maximum of the last minute."""

    def __init__(self, telemetry: Telemetry, clock: Seconds = monotonic) -> None:
        self._clock = clock
        # In falling order: a delay is dropped when a later one is longer.
        self._delays: deque[tuple[float, float]] = deque()
        self._last = clock()
        telemetry.observe(metrics.LOOP_LAG, self.longest)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began = self._clock()
            await asyncio.sleep(INTERVAL)
            self.note(self._clock() - began - INTERVAL)

    def note(self, delay: float) -> None:
        """Add one measurement, in seconds."""
        now = self._last = self._clock()
        while self._delays and self._delays[-1][1] <= delay:
            self._delays.pop()
        self._delays.append((now, delay))
        while self._delays[0][0] < now - WINDOW:
            self._delays.popleft()

    def longest(self) -> float:
        """Return the longest delay of the last minute, in seconds."""
        delays = tuple(self._delays)  # metrics are read by another thread
        return max(delays[0][1], 0) if delays else 0

    def paused_for(self) -> float:
        """Return how long the event loop has had no turn, in seconds; about ``INTERVAL`` while it runs."""
        return self._clock() - self._last
