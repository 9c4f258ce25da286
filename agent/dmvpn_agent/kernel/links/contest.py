"""Notices that another program takes a change back each time, and stops the fight."""

from collections import deque
from collections.abc import Hashable
from datetime import timedelta
from typing import Generic, TypeVar

from dmvpn_agent.runtime.clocks import Uptime

#: So many repairs of one thing within this time are a fight; then the agent leaves it alone for so long.
ROUNDS = 5
WINDOW = timedelta(minutes=1)
TRUCE = timedelta(minutes=10)

K = TypeVar("K", bound=Hashable)


class Contest(Generic[K]):
    """Counts repairs by what was repaired."""

    def __init__(self, clock: Uptime) -> None:
        self._clock = clock
        self._repairs: dict[K, deque[timedelta]] = {}
        self._until: dict[K, timedelta] = {}

    def note(self, key: K) -> None:
        """Note a repair."""
        now = self._clock()
        repairs = self._repairs.setdefault(key, deque(maxlen=ROUNDS))
        repairs.append(now)
        if len(repairs) == ROUNDS and now - repairs[0] <= WINDOW:
            self._until[key] = now + TRUCE
            repairs.clear()

    def stopped(self, key: K) -> bool:
        """Tell whether to leave this alone now."""
        until = self._until.get(key)
        if until is not None and self._clock() >= until:
            del self._until[key]
            return False
        return until is not None

    def forget(self) -> None:
        """Forget all repairs: the configuration was changed."""
        self._repairs.clear()
        self._until.clear()
