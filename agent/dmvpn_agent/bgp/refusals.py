"""Changes that FRR did not take: each is retried with back-off, alone, and reported once."""

from collections.abc import Iterable
from dataclasses import dataclass

from dmvpn_agent.bgp.plan import Change, RefreshInbound, SetNeighbor, subject
from dmvpn_agent.runtime.backoff import Backoff, Trouble


class Refusals:
    """Changes that FRR refused or took without effect, by neighbor address or prefix-list name.

    ``first`` and ``longest`` are the seconds until the first retry and between later ones.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._refused: dict[str, _Refusal] = {}

    def due(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        """Return the changes to write now: all but those of a neighbor or list that waits for a retry.

        Nothing waits if the goal is another one now, such as removal. ``RefreshInbound`` waits only for itself.
        """
        todo = tuple(changes)
        goals = {_goal(change) for change in todo}
        waiting = {
            name: one.change for name, one in self._refused.items()
            if _goal(one.change) in goals and one.backoff.delay > 0
        }  # fmt: skip
        return tuple(
            change for change in todo
            if subject(change) not in waiting
            or (isinstance(change, RefreshInbound) and change != waiting[subject(change)])
        )  # fmt: skip

    def is_known(self, change: Change) -> bool:
        """Tell whether a change of the same neighbor or list was refused: then it is written alone."""
        return subject(change) in self._refused

    def add(self, change: Change, why: str) -> bool:
        """Record a change that FRR did not take; return whether the change or the reason is new."""
        name = subject(change)
        known = self._refused.get(name)
        if known is None or _goal(known.change) != _goal(change):
            known = _Refusal(change, Backoff(self._first, self._longest), Trouble())
        known.change = change
        known.backoff.failed()
        self._refused[name] = known
        return known.trouble.is_new(why)

    def retain(self, changes: Iterable[Change]) -> None:
        """Forget all refusals except those of these changes."""
        goals = {_goal(change) for change in changes}
        self._refused = {name: one for name, one in self._refused.items() if _goal(one.change) in goals}

    def why(self, change: Change) -> str:
        """Return FRR's message about the change's neighbor or list, empty if there is none."""
        known = self._refused.get(subject(change))
        return (known.trouble.text or "") if known else ""


@dataclass(slots=True)
class _Refusal:
    change: Change
    backoff: Backoff
    trouble: Trouble


def _goal(change: Change) -> object:
    """Return the state that a change leads to: that of a half-written neighbor is the same as before."""
    return change.neighbor if isinstance(change, SetNeighbor) else change
