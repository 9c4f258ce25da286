"""The traffic with each peer and the events of its SAs, across rekeyings and charon's restarts.

charon counts each CHILD_SA from 0. Lists and events show the counts of a CHILD_SA repeatedly and in any order; only
the increase over the highest counts seen is added. SPIs identify a CHILD_SA, because unique ids restart with charon.
No traffic is counted twice. Traffic after the last list or event that shows a CHILD_SA is not counted.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.sa import NO_TRAFFIC, ChildSa, IkeSa, Traffic

#: How many CHILD_SAs that are gone, and peers without one, are remembered; beyond that the oldest are forgotten. The
#: last event about a CHILD_SA arrives moments after it left the list.
REMEMBERED = 4096

Key = TypeVar("Key")


class SaTotals:
    """Sums by NBMA address, from 0 at the first list: the agent before this one counted earlier traffic."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._started = False
        # Both are ordered by last use.
        self._seen: dict[str, Traffic] = {}
        self._traffic: dict[Address, Traffic] = {}
        self._events: dict[Address, dict[SaEventKind, int]] = {}

    def update(self, sas: Iterable[IkeSa]) -> None:
        """Add what the list of all IKE_SAs shows."""
        here: set[str] = set()
        addresses = set()
        for sa in sas:
            addresses.add(sa.remote_host)
            self._traffic.setdefault(sa.remote_host, NO_TRAFFIC)
            for child in sa.children:
                if child.spis:
                    here.add(child.spis)
                    self._count(sa.remote_host, child)
        self._started = True
        _forget(self._seen, here, self._remembered)
        _forget(self._traffic, addresses, self._remembered)
        _forget(self._events, addresses, self._remembered)

    def add_event(self, kind: SaEventKind, sa: IkeSa) -> None:
        """Count an event, and add what it shows of an IKE_SA and some of its CHILD_SAs."""
        counts = self._events.pop(sa.remote_host, {})
        self._events[sa.remote_host] = {**counts, kind: counts.get(kind, 0) + 1}
        for child in sa.children:
            if child.spis:
                self._count(sa.remote_host, child)

    def traffic(self) -> dict[Address, Traffic]:
        """Return the traffic by NBMA address."""
        return dict(self._traffic)

    def events(self) -> dict[tuple[Address, SaEventKind], int]:
        """Return the number of events by NBMA address and kind."""
        return {
            (address, kind): count for address, counts in list(self._events.items()) for kind, count in counts.items()
        }

    def _count(self, address: Address, child: ChildSa) -> None:
        before = self._seen.pop(child.spis, NO_TRAFFIC if self._started else child.traffic)
        now = Traffic(*map(max, before, child.traffic))
        self._seen[child.spis] = now
        if now != before:
            more = Traffic(*(new - old for new, old in zip(now, before, strict=True)))
            self._traffic[address] = self._traffic.pop(address, NO_TRAFFIC).plus(more)


def _forget(remembered: dict[Key, Any], here: set[Key], limit: int) -> None:
    """Drop the oldest keys that are not in ``here``, beyond a limit."""
    excess = len(remembered) - len(here) - limit
    if excess > 0:
        for key in [key for key in remembered if key not in here][:excess]:
            del remembered[key]
