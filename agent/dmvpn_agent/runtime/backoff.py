"""Retrying: how long to wait before the next attempt, and when to report a trouble that stays."""

from collections.abc import Hashable, Iterable
from math import inf
from time import monotonic
from typing import Generic, TypeVar

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_exponential

from dmvpn_agent.runtime.clocks import Seconds

#: An attempt that lasted this many seconds was a success, although it ended.
LASTING = 30.0

T = TypeVar("T", bound=Hashable)


class Backoff:
    """The wait between attempts, in seconds: ``first``, then doubled with each failure, up to ``longest``.

    ``begin`` marks the start of an attempt, ``failed`` its end. A connection alone is no success: otherwise the agent
    would reconnect without pause to a daemon that accepts and closes. The next wait is short again after an attempt
    that lasted ``lasting`` seconds, and after ``succeeded``.
    """

    def __init__(self, first: float, longest: float, *, lasting: float = LASTING, clock: Seconds = monotonic) -> None:
        self._wait = wait_exponential(multiplier=first, max=longest)
        self._lasting = lasting
        self._clock = clock
        self._began: float | None = None
        self._due = clock()
        self._state = RetryCallState(Retrying(), None, (), {})
        self.failures = 0

    @property
    def delay(self) -> float:
        """Return the seconds until the next attempt may begin; 0 before the first failure."""
        return max(self._due - self._clock(), 0)

    @property
    def settled(self) -> bool:
        """Tell whether the next failure counts as the first one."""
        return self.failures == 0 or self._has_lasted()

    def begin(self) -> None:
        """Note that an attempt begins."""
        self._began = self._clock()

    def failed(self) -> float:
        """Note that an attempt ended, and return the seconds until the next one may begin."""
        self.failures = 1 if self._has_lasted() else self.failures + 1
        self._began = None
        self._state.attempt_number = self.failures
        wait = self._wait(self._state)
        self._due = self._clock() + wait
        return wait

    def succeeded(self) -> None:
        """Make the next wait short again."""
        self.failures, self._began, self._due = 0, None, self._clock()

    def _has_lasted(self) -> bool:
        return self._began is not None and self._clock() - self._began >= self._lasting


class Trouble:
    """What is wrong with one thing now, so that it is reported once and not at each attempt.

    ``text`` is ``None`` while nothing is wrong. ``repeats``: how often the trouble before the last report came again
    without being reported. ``interval``: seconds after which the same trouble is reported again.
    """

    def __init__(self, interval: float = inf, clock: Seconds = monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._reported_at = -inf
        self._unreported = 0
        self.text: str | None = None
        self.repeats = 0

    def is_new(self, why: object) -> bool:
        """Note what is wrong; return whether to report it."""
        before, self.text = self.text, str(why)
        now = self._clock()
        if self.text == before and now - self._reported_at < self._interval:
            self._unreported += 1
            return False
        self.repeats, self._unreported, self._reported_at = self._unreported, 0, now
        return True

    def over(self) -> str | None:
        """Note that nothing is wrong any more; return what was."""
        before, self.text, self._unreported = self.text, None, 0
        return before


class Troubles(Generic[T]):
    """Several troubles of one kind: each is reported when it appears."""

    def __init__(self) -> None:
        self._present: frozenset[T] = frozenset()

    def new(self, present: Iterable[T]) -> list[T]:
        """Note all that is wrong now; return what was not wrong the last time."""
        now = list(dict.fromkeys(present))
        before, self._present = self._present, frozenset(now)
        return [trouble for trouble in now if trouble not in before]
