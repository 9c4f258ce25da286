"""Pings between the hosts behind nodes: actions that send them, and expectations about what came back."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dmvpn_lab.observation import Observation

if TYPE_CHECKING:
    from dmvpn_lab.lab import Lab

_REPLY = re.compile(r"icmp_seq=(\d+) ttl=(\d+)")
_SILENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Ping:
    """Ping the host behind one node from the host behind another, ``count`` packets, one a second."""

    source: str
    destination: str
    count: int = 20

    def perform(self, lab: "Lab") -> None:
        """Returns after the last packet; the replies' TTLs are kept for the expectation ``shortcut``."""
        target = str(lab.nodes[self.destination].node.lan[2])
        text = lab.nodes[self.source].host.run("ping", "-n", "-c", str(self.count), target, statuses=(0, 1))
        lab.replies[self.source, self.destination] = (
            self.count,
            {int(number): int(ttl) for number, ttl in _REPLY.findall(text)},
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """Ping the host behind one node from the host behind another, five times a second, until the lab ends."""

    source: str
    destination: str

    def perform(self, lab: "Lab") -> None:
        """Returns when the first reply is there."""
        source = lab.nodes[self.source]
        target = str(lab.nodes[self.destination].node.lan[2])
        log = source.logs / f"traffic-{self.destination}.log"
        lab.traffic[self.source, self.destination] = log
        with log.open("wb") as output:
            source.host.spawn(["ping", "-n", "-i", "0.2", target], output)
        _further_reply(log, 0)


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The last ping between two LANs began through the hub, went direct within some packets, and lost none after."""

    source: str
    destination: str
    direct_within: int = 10

    def observe(self, lab: "Lab") -> Observation:
        """Three routers lie on the path through the hub, two on the direct one: a reply's TTL shows which it took."""
        count, ttls = lab.replies.get((self.source, self.destination), (0, {}))
        through_hub, direct = 64 - 3, 64 - 2
        first_direct = min((number for number, ttl in ttls.items() if ttl == direct), default=0)
        lost = [number for number in range(1, count + 1) if number not in ttls]
        lost_after = [number for number in lost if number > first_direct]
        before = ttls[min(ttls)] if ttls else None
        evidence = {
            "ttl_before": before,
            "ttl_after": ttls[max(ttls)] if ttls else None,
            "first_direct_packet": first_direct or None,
            "packets": count,
            "lost": lost,
            "lost_after_direct": lost_after,
            "ttls": ttls,
        }
        went_direct = 0 < first_direct <= self.direct_within and ttls[max(ttls)] == direct
        return Observation(went_direct and before == through_hub and not lost_after, evidence)


@dataclass(frozen=True, slots=True)
class TrafficIntact:
    """Of the ``traffic`` that was begun, every packet has been answered, and replies go on."""

    source: str
    destination: str

    def observe(self, lab: "Lab") -> Observation:
        """A packet counts as lost when a later one was answered; silence is no reply for two seconds."""
        log = lab.traffic[self.source, self.destination]
        goes_on = _further_reply(log, max(_replies(log), default=0))
        replies = _replies(log)
        lost = [number for number in range(1, max(replies, default=0)) if number not in replies]
        evidence = {"replies": len(replies), "lost": lost, "goes_on": goes_on}
        return Observation(goes_on and not lost, evidence)


def _replies(log: Path) -> dict[int, int]:
    return {int(number): int(ttl) for number, ttl in _REPLY.findall(log.read_text())}


def _further_reply(log: Path, newest: int) -> bool:
    deadline = time.monotonic() + _SILENCE_SECONDS
    while max(_replies(log), default=0) <= newest:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
