"""Traffic between the hosts behind nodes that goes on while things happen: the action, and what came back of it."""

from dataclasses import dataclass
from itertools import pairwise

from dmvpn_lab.lab import Lab
from dmvpn_lab.observation import Observation
from dmvpn_lab.pings import PATHS, Stream, further_reply, replies_in


@dataclass(frozen=True, slots=True)
class Traffic:
    """Ping the host behind one node from the host behind another, ``per_second`` packets, until the lab ends.

    Traffic of before between the same two ends, and its losses are not counted any more.
    """

    source: str
    destination: str
    per_second: int = 5

    def perform(self, lab: Lab) -> None:
        """Returns when the first reply is there."""
        source, ends = lab.nodes[self.source], (self.source, self.destination)
        if (former := lab.traffic.get(ends)) is not None:
            former.process.kill()
            former.process.wait()
        target = str(lab.nodes[self.destination].node.host())
        log = source.logs / f"traffic-{self.destination}.log"
        with log.open("wb") as output:
            process = source.host.spawn(["ping", "-n", "-D", "-i", f"{1 / self.per_second:.3f}", target], output)
        lab.traffic[ends] = Stream(process, log)
        further_reply(log, 0)


@dataclass(frozen=True, slots=True)
class TrafficIntact:
    """Of the ``traffic`` that was begun every packet has been answered, or all but ``at_most``, and replies go on.

    ``longest_gap``: at most so many seconds lie between two answered packets. ``path``: the newest reply came by
    way of a hub (``hub``) or not (``direct``).
    """

    source: str
    destination: str
    at_most: int = 0
    longest_gap: int | None = None
    path: str | None = None

    def observe(self, lab: Lab) -> Observation:
        """A packet counts as lost when a later one was answered; silence is no reply for two seconds."""
        log = lab.traffic[self.source, self.destination].log
        goes_on = further_reply(log, max(replies_in(log), default=0))
        replies = replies_in(log)
        newest = max(replies, default=0)
        lost = [number for number in range(1, newest) if number not in replies]
        gap = max((later.time - former.time for former, later in pairwise(replies.values())), default=0.0)
        path = PATHS.get(replies[newest].ttl) if newest else None
        evidence = {
            "replies": len(replies),
            "lost": lost,
            "longest_gap_seconds": round(gap, 2),
            "path": path,
            "goes_on": goes_on,
        }
        short = self.longest_gap is None or gap <= self.longest_gap
        return Observation(goes_on and len(lost) <= self.at_most and short and self.path in (None, path), evidence)
