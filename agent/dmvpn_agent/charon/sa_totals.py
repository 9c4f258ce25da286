"""What passed between this node and each peer, and what became of their SAs, across rekeyings and charon's restarts.

charon counts each CHILD_SA by itself, from 0. Looks at all SAs and the last counts in events show the same CHILD_SA
again and again, in any order; what is added is what it has more than was ever seen of it. It is known by its SPIs:
unique ids begin anew with charon. Nothing is counted twice; what a CHILD_SA carried after it was last seen is not
counted.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.sa import NO_TRAFFIC, ChildSa, IkeSa, Traffic

#: How many CHILD_SAs that are gone, and peers without one, are remembered; of more, the oldest are forgotten. An
#: event comes moments after its CHILD_SA left the list at most.
REMEMBERED = 4096

Key = TypeVar("Key")


class SaEvent(StrEnum):
    """What happens to SAs."""

    IKE_ESTABLISHED = "ike_established"
    IKE_CLOSED = "ike_closed"
    IKE_REKEYED = "ike_rekeyed"
    IKE_MOVED = "ike_moved"
    CHILD_INSTALLED = "child_installed"
    CHILD_CLOSED = "child_closed"
    CHILD_REKEYED = "child_rekeyed"


class SaTotals:
    """Sums by NBMA address. They begin at 0 with the first look: what was carried before was counted before."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._looked = False
        # Both in the order of last use.
        self._seen: dict[str, Traffic] = {}
        self._traffic: dict[Address, Traffic] = {}
        self._events: dict[Address, dict[SaEvent, int]] = {}

    def update(self, sas: Iterable[IkeSa]) -> None:
        """Take in all IKE_SAs there are now."""
        here: set[str] = set()
        addresses = set()
        for sa in sas:
            addresses.add(sa.remote_host)
            self._traffic.setdefault(sa.remote_host, NO_TRAFFIC)
            for child in sa.children:
                if child.spis:
                    here.add(child.spis)
                    self._count(sa.remote_host, child)
        self._looked = True
        _forget(self._seen, here, self._remembered)
        _forget(self._traffic, addresses, self._remembered)
        _forget(self._events, addresses, self._remembered)

    def event(self, event: SaEvent, sa: IkeSa) -> None:
        """Take in what an event shows of one IKE_SA and some of its CHILD_SAs."""
        counts = self._events.pop(sa.remote_host, {})
        self._events[sa.remote_host] = {**counts, event: counts.get(event, 0) + 1}
        for child in sa.children:
            if child.spis:
                self._count(sa.remote_host, child)

    def traffic(self) -> dict[Address, Traffic]:
        """Return what passed, by NBMA address."""
        return dict(self._traffic)

    def events(self) -> dict[tuple[Address, SaEvent], int]:
        """Return how often what happened, by NBMA address."""
        return {
            (address, event): count
            for address, counts in list(self._events.items())
            for event, count in counts.items()
        }

    def _count(self, address: Address, child: ChildSa) -> None:
        before = self._seen.pop(child.spis, NO_TRAFFIC if self._looked else child.traffic)
        now = Traffic(*map(max, before, child.traffic))
        self._seen[child.spis] = now
        if now != before:
            more = Traffic(*(new - old for new, old in zip(now, before, strict=True)))
            self._traffic[address] = self._traffic.pop(address, NO_TRAFFIC).plus(more)


def _forget(remembered: dict[Key, Any], here: set[Key], limit: int) -> None:
    """Drop the oldest of those that are not here, beyond a limit."""
    excess = len(remembered) - len(here) - limit
    if excess > 0:
        for key in [key for key in remembered if key not in here][:excess]:
            del remembered[key]
