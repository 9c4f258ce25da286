"""Notices that what the agent owns in FRR was changed by somebody else, and says so, once."""

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.bgpd import Snapshot
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.drift import Drift, expected_state, find_drift, restarted
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.plan import Plan, subject
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Differences that are named in the log; more are only counted.
MAX_SAID = 50


class DriftWatch:
    """Compares FRR with what stood in it when it was last in step."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._stood: tuple[Desired, Snapshot] | None = None
        self._drift: dict[str, Drift] = {}
        self._restart = Trouble()

    def check(self, snapshot: Snapshot, todo: Plan) -> None:
        """Look at a state of FRR that is not as desired: is somebody else the reason?"""
        if self._stood is None:
            return
        stood, earlier = self._stood
        if restarted(earlier.config, snapshot.config, _established(earlier), _established(snapshot)):
            if self._restart.is_new("restarted"):
                self._telemetry.increment(metrics.FRR_RESTARTS)
                log.warning(
                    "frr_restarted", changes=len(todo.changes), consequence="the agent writes its configuration again"
                )
            return
        drift = find_drift(stood, snapshot.config, todo)
        new = drift.keys() - self._drift.keys()
        self._drift |= drift
        if new:
            words = [describe(change) for change in todo.changes if subject(change) in drift]
            log.warning(
                "drift",
                what={name: str(drift[name]) for name in sorted(new)[:MAX_SAID]},
                more=max(len(new) - MAX_SAID, 0),
                repair=words[:MAX_SAID],
            )

    def writing(self) -> None:
        """Note that the agent writes: how FRR differs from what stood in it may be its own doing from here on."""
        self._stood = None

    def in_step(self, wanted: Desired, foreign: tuple[Address, ...], snapshot: Snapshot, *, repaired: bool) -> None:
        """Note that FRR is as desired; ``repaired``: because of what the agent wrote."""
        for kind in self._drift.values() if repaired else ():
            self._telemetry.increment(metrics.DRIFT_REPAIRS, kind)
        self._drift = {}
        self._restart.over()
        self._stood = expected_state(wanted, foreign), snapshot


def _established(snapshot: Snapshot) -> frozenset[Address]:
    return frozenset(address for address, session in snapshot.sessions.items() if session.state == "Established")
