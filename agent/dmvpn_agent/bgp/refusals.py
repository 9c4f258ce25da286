"""Changes that FRR did not take: each is written again after a wait that grows, alone, and reported once."""

from collections.abc import Iterable
from dataclasses import dataclass

from dmvpn_agent.bgp.plan import Change, RefreshInbound, SetNeighbor, subject
from dmvpn_agent.runtime.backoff import Backoff, Trouble


class Refusals:
    """What was refused or had no effect, by the neighbor or prefix-list that it is about; times are seconds."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._refused: dict[str, _Refusal] = {}

    def due(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        """Return the changes that may be written now: all but those to a neighbor or list whose change waits.

        Where something else is to become of it, as its removal, nothing waits; a filter's new judgement never does.
        """
        todo = tuple(changes)
        wanted = {_goal(change) for change in todo}
        waiting = {
            name: one.change for name, one in self._refused.items()
            if _goal(one.change) in wanted and one.backoff.delay > 0
        }  # fmt: skip
        return tuple(
            change for change in todo
            if subject(change) not in waiting
            or (isinstance(change, RefreshInbound) and change != waiting[subject(change)])
        )  # fmt: skip

    def is_known(self, change: Change) -> bool:
        """Tell whether a change is about a neighbor or list with a refused change: then it is written alone."""
        return subject(change) in self._refused

    def add(self, change: Change, why: str) -> bool:
        """Take note of a change that FRR did not take; return whether that was not known yet."""
        name = subject(change)
        known = self._refused.get(name)
        if known is None or _goal(known.change) != _goal(change):
            known = _Refusal(change, Backoff(self._first, self._longest), Trouble())
        known.change = change
        known.backoff.failed()
        self._refused[name] = known
        return known.trouble.is_new(why)

    def keep(self, changes: Iterable[Change]) -> None:
        """Forget what is not to be changed any more, or is to become something else."""
        wanted = {_goal(change) for change in changes}
        self._refused = {name: one for name, one in self._refused.items() if _goal(one.change) in wanted}

    def why(self, change: Change) -> str:
        """Return FRR's own words about the neighbor or list of a change, nothing where there are none."""
        known = self._refused.get(subject(change))
        return (known.trouble.text or "") if known else ""


@dataclass(slots=True)
class _Refusal:
    change: Change
    backoff: Backoff
    trouble: Trouble


def _goal(change: Change) -> object:
    """Return what a change aims at: a neighbor that was written in part is to become the same as before."""
    return change.neighbor if isinstance(change, SetNeighbor) else change
