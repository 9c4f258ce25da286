"""Whether a process does all of its work, for ``/readyz``."""

from collections.abc import Callable

from dmvpn_agent.runtime.clocks import Seconds


class Readiness:
    """Why a process does not do all of its work now.

    ``paused_for`` returns how long the event loop has had no turn, in seconds.
    """

    def __init__(self, paused_for: Seconds = lambda: 0.0) -> None:
        self._checks: dict[str, Callable[[], str]] = {}
        self.paused_for = paused_for

    def add(self, name: str, check: Callable[[], str]) -> None:
        """Add a check; it returns what is wrong, or nothing."""
        self._checks[name] = check

    def troubles(self) -> list[str]:
        """Return what is wrong, one line each."""
        found = ((name, _contained(check)) for name, check in self._checks.items())
        return [f"{name}: {trouble}" for name, trouble in found if trouble]


def _contained(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:
        return f"unknown: {error!r}"
