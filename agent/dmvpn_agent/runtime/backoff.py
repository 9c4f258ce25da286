"""Trying again: how long to wait, and how often to report it. One way for all that reconnects or restarts."""

from time import monotonic

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_exponential

from dmvpn_agent.runtime.clocks import Seconds

#: An attempt that lasted this many seconds was a success, though it ended: what follows begins anew.
LASTING = 30.0


class Backoff:
    """The time to wait between attempts, in seconds: ``first``, then twice as long each time, up to ``longest``.

    ``begin`` marks the start of an attempt, ``failed`` its end. Connecting is no success by itself, or a daemon that
    accepts and closes would be asked without pause: only an attempt that lasted for ``lasting`` seconds, or of which
    ``succeeded`` says so, makes the next wait short again.
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

    def begin(self) -> None:
        """Note that an attempt begins."""
        self._began = self._clock()

    def failed(self) -> float:
        """Note that an attempt ended, and return the seconds until the next may begin."""
        if self._began is not None and self._clock() - self._began >= self._lasting:
            self.failures = 0
        self._began = None
        self.failures += 1
        self._state.attempt_number = self.failures
        wait = self._wait(self._state)
        self._due = self._clock() + wait
        return wait

    def succeeded(self) -> None:
        """Note that all is well: the next wait is short again."""
        self.failures, self._began, self._due = 0, None, self._clock()


class Trouble:
    """What is wrong with one thing now; ``text`` is ``None`` while nothing is. Reported once, not at each attempt."""

    def __init__(self) -> None:
        self.text: str | None = None

    def is_new(self, why: object) -> bool:
        """Take note of what is wrong; return whether that was not known yet."""
        before, self.text = self.text, str(why)
        return self.text != before

    def over(self) -> str | None:
        """Note that nothing is wrong any more; return what was."""
        before, self.text = self.text, None
        return before
