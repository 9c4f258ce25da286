"""Two nodes that start an SA towards each other at the same moment: the action, and what came of it."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Barrier
from typing import Any

from vici.exception import CommandException

from dmvpn_lab import readings
from dmvpn_lab.lab import Lab
from dmvpn_lab.namespace import CommandError
from dmvpn_lab.node import BRIDGE_SOCKET, PROFILE
from dmvpn_lab.observation import Observation
from dmvpn_lab.pings import DIRECT, replies_in

# Longer than the bridge waits for the peer to end its duplicate IKE_SA: 60 s, and a resync.
_SETTLED_SECONDS = 100.0
_GONE_SECONDS = 20.0
# For so long it is looked whether another one comes.
_QUIET_SECONDS = 3.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class BothStart:
    """End the IKE_SAs between two nodes and have both bridges start one at the same moment, as nhrpd asks it of them.

    There must be ``traffic`` both ways. Each time one IKE_SA, and replies on the direct path to both, are waited for.
    """

    one: str
    other: str
    times: int = 10

    def perform(self, lab: Lab) -> None:
        """Keeps the figures of each time for ``collisions``. Raises ``CommandError`` for SAs that cannot be ended."""
        lab.collisions.clear()
        with ThreadPoolExecutor(max_workers=2) as pool:
            for _ in range(self.times):
                lab.collisions.append(_collide(lab, (self.one, self.other), pool))


@dataclass(frozen=True, slots=True)
class Collisions:
    """All of ``both-start`` ended well.

    Never were there more than two IKE_SAs on a node, after ``settled`` seconds there was one, and after ``through``
    seconds packets went direct both ways. ``collided``: so often at least there really were two.
    """

    collided: int
    settled: int
    through: int

    def observe(self, lab: Lab) -> Observation:
        """Compares the figures of each time."""
        good = [
            figures["most_ike_sas"] <= 2
            and _within(figures["one_ike_sa_after"], self.settled)
            and _within(figures["direct_after"], self.through)
            for figures in lab.collisions
        ]
        collided = sum(figures["most_ike_sas"] == 2 for figures in lab.collisions)
        evidence = {"collided": collided, "times": lab.collisions}
        return Observation(bool(good) and all(good) and collided >= self.collided, evidence)


def _within(seconds: float | None, limit: int) -> bool:
    return seconds is not None and seconds <= limit


def _collide(lab: Lab, ends: tuple[str, str], pool: ThreadPoolExecutor) -> dict[str, Any]:
    directions = (ends, ends[::-1])
    list(pool.map(lambda pair: _end(lab, *pair), directions))
    _wait_until_gone(lab, directions)
    moment = Barrier(2)
    list(pool.map(lambda pair: _start(lab, pair, moment), directions))
    began, begun = time.monotonic(), time.time()
    most, one_after, direct_after = 0, None, None
    while (passed := time.monotonic() - began) < _SETTLED_SECONDS:
        sas = [_between(lab, *pair) for pair in directions]
        most = max(most, *map(len, sas))
        if not _is_one(sas):
            one_after = None
        elif one_after is None:
            one_after = round(passed, 1)
        if direct_after is None and all(_went_direct(lab, pair, begun) for pair in directions):
            direct_after = round(passed, 1)
        if one_after is not None and direct_after is not None and passed > one_after + _QUIET_SECONDS:
            break
        time.sleep(_POLL_SECONDS)
    return {"most_ike_sas": most, "one_ike_sa_after": one_after, "direct_after": direct_after}


def _between(lab: Lab, on: str, to: str, path: str | None = None) -> list[dict[str, Any]]:
    address, sas = lab.scenario.outer_address(to), readings.ike_sas(lab.nodes[on], path)
    return [sa for sa in sas if sa["remote_host"] == address and sa["state"] != "DELETING"]


def _is_one(sas: list[list[dict[str, Any]]]) -> bool:
    """Both ends have one, the same one, and in it a CHILD_SA."""
    there = [sa for of_end in sas for sa in of_end]
    same = len({(sa["initiator_spi"], sa["responder_spi"]) for sa in there}) == 1
    up = all(any(child["state"] == "INSTALLED" for child in sa["child_sas"]) for sa in there)
    return [len(of_end) for of_end in sas] == [1, 1] and same and up


def _went_direct(lab: Lab, ends: tuple[str, str], since: float) -> bool:
    return any(reply.time > since and reply.ttl == DIRECT for reply in replies_in(lab.traffic[ends].log).values())


# The bridge must know of it too: of what it believes to be there it starts no other.
def _wait_until_gone(lab: Lab, directions: tuple[tuple[str, str], tuple[str, str]]) -> None:
    deadline = time.monotonic() + _GONE_SECONDS
    while any(_between(lab, on, to) or _between(lab, on, to, BRIDGE_SOCKET) for on, to in directions):
        if time.monotonic() > deadline:
            raise CommandError(f"IKE_SAs between {' and '.join(directions[0])} stay")
        for pair in directions:
            _end(lab, *pair)
        time.sleep(_POLL_SECONDS)


def _end(lab: Lab, on: str, to: str) -> None:
    node = lab.nodes[on]
    sas = _between(lab, on, to)
    with readings.vici(node, node.mode.socket) as session:
        for sa in sas:
            # It may have gone meanwhile, by the other end's wish.
            with suppress(CommandException):
                session.request("terminate", {"ike-id": str(sa["unique_id"]), "force": "yes", "timeout": "-1"})


def _start(lab: Lab, ends: tuple[str, str], moment: Barrier) -> None:
    on, to = ends
    ask = {"child": PROFILE, "ike": PROFILE, "timeout": "-1"}
    ask |= {"my-host": lab.scenario.outer_address(on), "other-host": lab.scenario.outer_address(to)}
    with readings.vici(lab.nodes[on], BRIDGE_SOCKET) as session:
        moment.wait(30)
        session.request("initiate", ask)
