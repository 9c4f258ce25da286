"""Detects edits of the agent's configuration in FRR by others, and restarts of FRR; logs each once."""

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.bgpd import Snapshot
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.drift import Drift, bgpd_restarted, expected_state, find_drift
from dmvpn_agent.bgp.neighbors import Desired
from dmvpn_agent.bgp.plan import Plan, subject
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: The log names this many differences at most; ``more`` counts the rest.
MAX_LOGGED = 50


class DriftWatch:
    """Compares FRR with the state it had when it was last in sync."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._last_in_sync: tuple[Desired, Snapshot] | None = None
        self._drift: dict[str, Drift] = {}
        self._restart = Trouble()

    def check(self, snapshot: Snapshot, todo: Plan) -> None:
        """Find the reason why FRR is not in sync: drift, a restart, or a new desired state."""
        if self._last_in_sync is None:
            return
        expected, earlier = self._last_in_sync
        if bgpd_restarted(earlier.config, snapshot.config, earlier.established(), snapshot.established()):
            if self._restart.is_new("restarted"):
                self._telemetry.increment(metrics.FRR_RESTARTS)
                log.warning(
                    "frr_restarted", changes=len(todo.changes), consequence="the agent writes its configuration again"
                )
            return
        drift = find_drift(expected, snapshot.config, todo)
        new = drift.keys() - self._drift.keys()
        self._drift |= drift
        if new:
            repair = [describe(change) for change in todo.changes if subject(change) in drift]
            log.warning(
                "drift",
                what={name: str(drift[name]) for name in sorted(new)[:MAX_LOGGED]},
                more=max(len(new) - MAX_LOGGED, 0),
                repair=repair[:MAX_LOGGED],
            )

    def begin_write(self) -> None:
        """Forget the last state in sync: from now on differences may come from the agent's own changes."""
        self._last_in_sync = None

    def in_sync(
        self, wanted: Desired, operator_neighbors: tuple[Address, ...], snapshot: Snapshot, *, repaired: bool
    ) -> None:
        """Record that FRR is in sync; ``repaired``: because of what the agent wrote."""
        for kind in self._drift.values() if repaired else ():
            self._telemetry.increment(metrics.DRIFT_REPAIRS, kind)
        self._drift = {}
        self._restart.over()
        self._last_in_sync = expected_state(wanted, operator_neighbors), snapshot
