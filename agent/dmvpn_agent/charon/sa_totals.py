"""The traffic with each peer and the events of its SAs, across rekeyings and charon's restarts.

charon counts each CHILD_SA from 0. Lists and events show the counts of a CHILD_SA repeatedly and in any order; only
the increase over the highest counts seen is added. SPIs identify a CHILD_SA, because unique ids restart with charon.
No traffic is counted twice. Traffic after the last list or event that shows a CHILD_SA is not counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from time import monotonic

from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.sa import NO_TRAFFIC, ChildSa, IkeSa, Traffic

#: How many CHILD_SAs that are gone are remembered; beyond that the oldest are forgotten. The last event about a
#: CHILD_SA arrives moments after it left the list.
REMEMBERED = 4096
#: Seconds after which a peer without an IKE_SA is forgotten. What it carried stays in the totals of all peers.
RETENTION = 600.0
#: Peers with totals of their own; more count in the totals of all peers only.
LIMIT = 10_000

#: A peer: the connection's name and its identity as charon prints it. Two peers behind one NAT address are two.
SaOwner = tuple[str, str]


def owner(sa: IkeSa) -> SaOwner:
    """Return whose IKE_SA it is."""
    return sa.name, sa.remote_id


class SaTotals:
    """Sums by peer and of all peers, from 0 at the first list: the agent before this one counted earlier traffic.

    ``all_traffic`` and ``all_events`` are those of all peers, also of those that are forgotten.
    """

    def __init__(
        self, clock: Callable[[], float] = monotonic, *, remembered: int = REMEMBERED, limit: int = LIMIT
    ) -> None:
        self._clock = clock
        self._remembered = remembered
        self._limit = limit
        self._started = False
        self._seen: dict[str, Traffic] = {}  # ordered by last use
        self._seen_at: dict[SaOwner, float] = {}
        self._traffic: dict[SaOwner, Traffic] = {}
        self._events: dict[SaOwner, dict[SaEventKind, int]] = {}
        self.all_traffic = NO_TRAFFIC
        self.all_events: Counter[SaEventKind] = Counter()

    def update(self, sas: Iterable[IkeSa]) -> None:
        """Add what the list of all IKE_SAs shows."""
        here: set[str] = set()
        for sa in sas:
            if sa.established:
                self._note(owner(sa))
            for child in sa.children:
                if child.spis:
                    here.add(child.spis)
                    self._count(owner(sa), child)
        self._started = True
        self._forget_children(here)
        self._forget_peers()

    def add_event(self, kind: SaEventKind, sa: IkeSa) -> None:
        """Count an event, and add what it shows of an IKE_SA and some of its CHILD_SAs."""
        peer = owner(sa)
        self._note(peer)
        self.all_events[kind] += 1
        if peer in self._events:
            self._events[peer] = {**self._events[peer], kind: self._events[peer][kind] + 1}
        for child in sa.children:
            if child.spis:
                self._count(peer, child)

    def traffic(self) -> dict[SaOwner, Traffic]:
        """Return the traffic by peer."""
        return dict(self._traffic)

    def events(self) -> dict[SaOwner, dict[SaEventKind, int]]:
        """Return the number of events by peer and kind; each kind is there."""
        return dict(self._events)

    def _note(self, peer: SaOwner) -> None:
        if peer in self._traffic or len(self._traffic) < self._limit:
            self._seen_at[peer] = self._clock()
            self._traffic.setdefault(peer, NO_TRAFFIC)
            self._events.setdefault(peer, dict.fromkeys(SaEventKind, 0))

    def _count(self, peer: SaOwner, child: ChildSa) -> None:
        before = self._seen.pop(child.spis, NO_TRAFFIC if self._started else child.traffic)
        now = Traffic(*map(max, before, child.traffic))
        self._seen[child.spis] = now
        if now != before:
            more = Traffic(*(new - old for new, old in zip(now, before, strict=True)))
            self.all_traffic = self.all_traffic.plus(more)
            if peer in self._traffic:
                self._traffic[peer] = self._traffic[peer].plus(more)

    def _forget_children(self, here: set[str]) -> None:
        excess = len(self._seen) - len(here) - self._remembered
        if excess > 0:
            for key in [key for key in self._seen if key not in here][:excess]:
                del self._seen[key]

    def _forget_peers(self) -> None:
        since = self._clock() - RETENTION
        for peer in [peer for peer, seen_at in self._seen_at.items() if seen_at < since]:
            del self._seen_at[peer], self._traffic[peer], self._events[peer]
