"""How soon to read charon's connections again while it lacks one: it starts without, and loading raises no event.

Until the connection was read, it is unknown how the peers of its IKE_SAs authenticate (``connections``).
"""

from collections.abc import Callable
from time import monotonic

#: Seconds between two reads: just after a start of charon, and later.
SOON, SELDOM = 0.5, 5.0
#: Seconds after which the connection is not about to be loaded.
STARTING = 30.0


class ConnectionWait:
    """The waits of one session with charon; ``begin`` starts another one."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began = clock()

    def begin(self) -> None:
        """Note that a session begins."""
        self._began = self._clock()

    def due(self, *, complete: bool) -> float | None:
        """Return in how many seconds to read again; ``None`` if charon has all connections."""
        if complete:
            return None
        return SOON if self._clock() - self._began < STARTING else SELDOM
