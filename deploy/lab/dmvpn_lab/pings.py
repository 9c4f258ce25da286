"""A running ping between the hosts behind nodes: what it prints, and by which path the replies came."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

_REPLY = re.compile(r"\[([\d.]+)\] .*icmp_seq=(\d+) ttl=(\d+)")
_SILENCE_SECONDS = 2.0

# Three routers lie on the path through a hub, two on the direct one: the TTL of a reply shows which it took.
THROUGH_HUB, DIRECT = 64 - 3, 64 - 2
PATHS = {THROUGH_HUB: "hub", DIRECT: "direct"}


@dataclass(frozen=True, slots=True)
class Stream:
    """The running ping between two hosts, and what it prints."""

    process: "Popen[bytes]"
    log: Path


class Reply(NamedTuple):
    """When a packet was answered, in seconds since the epoch, and the TTL that the answer had left."""

    time: float
    ttl: int


def replies_in(log: Path) -> dict[int, Reply]:
    """The answered packets of a stream by number, in order."""
    found = ((int(number), Reply(float(when), int(ttl))) for when, number, ttl in _REPLY.findall(log.read_text()))
    return dict(sorted(found))


def further_reply(log: Path, newest: int) -> bool:
    """Wait for a reply after the newest one; returns whether it came in time."""
    deadline = time.monotonic() + _SILENCE_SECONDS
    while max(replies_in(log), default=0) <= newest:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
