"""Keeps FRR in sync with the accepted peers: observe, plan, apply, read back.

There is one writer. Events within the coalescing time are applied together. A missed event costs time only: each pass
starts from the state of FRR, and there is a pass at every resync even if no event came.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from operator import eq

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.applier import Applier
from dmvpn_agent.bgp.bgpd import Bgpd, FrrUnavailable, Snapshot
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.desired import desired, neighbor_bindings
from dmvpn_agent.bgp.drift_watch import DriftWatch
from dmvpn_agent.bgp.neighbors import Desired, Observed
from dmvpn_agent.bgp.plan import Change, Plan
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem_watch import BgpProblemWatch
from dmvpn_agent.bgp.problems import without_blocked
from dmvpn_agent.bgp.refusals import Refusals
from dmvpn_agent.bgp.sessions import Session
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.bgp.stale_neighbors import StaleNeighbors, keep_stale
from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.backoff import Backoff, Trouble, Troubles
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.last_result import LastResult
from dmvpn_agent.runtime.source import Source, SourceName
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds until a failed pass is retried; the longest interval is the resync interval.
FIRST_RETRY_INTERVAL = 0.5


class NotInSync(Exception):
    """The pass could not bring FRR to the desired state; it is retried."""


class Reconciler:
    """The one writer to FRR. With ``dry_run`` it writes nothing and logs the changes that it would make.

    ``pending``: the changes that FRR still lacks. ``operator_neighbors``: peers at whose address the operator has a
    neighbor of his own. ``stale_neighbors``: see ``StaleNeighbors``; while there are any, FRR is not in sync.
    ``bgpd_readable``: whether the last read of bgpd succeeded; ``snapshot`` is older otherwise.
    """

    def __init__(
        self,
        frr: Frr,
        bgp: BgpSettings,
        peers: Peers,
        bgpd: Bgpd,
        telemetry: Telemetry,
        clocks: Clocks,
        *,
        dry_run: bool = False,
    ) -> None:
        self._frr = frr
        self._settings = bgp
        self._peers = peers
        self._bgpd = bgpd
        self._telemetry = telemetry
        self._clocks = clocks
        self._dry_run = dry_run
        self._would = Troubles[Change]()
        self._drift = DriftWatch(telemetry)
        self._trigger = DebouncedEvent()
        self._problems = BgpProblemWatch()
        self._applier = Applier(bgpd, telemetry, Refusals(FIRST_RETRY_INTERVAL, frr.resync_interval))
        self._stale = StaleNeighbors()
        self._desired_of = LastResult(desired, same=eq)
        self._trouble = Trouble()
        self._source = Source(SourceName.BGPD, telemetry)
        self.snapshot: Snapshot | None = None
        self.bgpd_readable = False
        self.pending: tuple[Change, ...] = ()
        self.operator_neighbors: tuple[Address, ...] = ()
        self.stale_neighbors: tuple[Address, ...] = ()
        self.last_sync: datetime | None = None

    async def run(self) -> None:
        """Make passes until cancelled; retry failed ones with back-off."""
        self._stale.keep_until(self._clocks.uptime() + timedelta(seconds=self._frr.linger))
        backoff = Backoff(FIRST_RETRY_INTERVAL, self._frr.resync_interval)
        while True:
            wait = self._frr.resync_interval
            try:
                await self._pass()
                backoff.succeeded()
            except (NotInSync, FrrUnavailable) as error:
                self._failed(str(error))
                wait = min(wait, backoff.failed())
            except Exception as error:
                self._failed(repr(error))
                raise
            await self._trigger.wait(within=wait, then=self._frr.coalesce)

    async def _pass(self) -> None:
        started = self._clocks.uptime()
        try:
            outcome = await self._reconcile()
        finally:
            spent = (self._clocks.uptime() - started).total_seconds()
            self._telemetry.increment(metrics.RECONCILE_SECONDS, by=spent)
        self._telemetry.increment(metrics.RECONCILES, outcome)
        if (was := self._trouble.over()) is not None:
            log.info("reconcile_recovered", after=was)
        if not self.pending and not self.stale_neighbors:
            self.last_sync = self._clocks.now()

    def _failed(self, why: str) -> None:
        self._telemetry.increment(metrics.RECONCILES, "failed")
        if self._trouble.is_new(why):
            log.warning("reconcile_failed", why=why, pending=len(self.pending))

    async def _reconcile(self) -> str:
        """Make one pass; return its outcome. Raises ``NotInSync``, ``FrrUnavailable``."""
        snapshot = await self._observe()
        goal = await self._desired(snapshot.config)
        problems = await self._problems.check(snapshot, self._settings, goal)
        wanted = without_blocked(goal, snapshot.config, problems)
        todo = await self._plan(wanted, snapshot.config)
        if any(problem.blocks_all for problem in problems) and (goal.neighbors or todo.changes):
            raise NotInSync("; ".join(map(str, problems)))
        outcome = await self._write(wanted, todo, snapshot)
        if blocking := [str(problem) for problem in problems if problem.blocks]:
            raise NotInSync("; ".join(blocking))
        return outcome

    async def _observe(self) -> Snapshot:
        try:
            with self._source.read():
                self.snapshot = await self._bgpd.observe()
        except FrrUnavailable:
            self.bgpd_readable = False
            raise
        self.bgpd_readable = True
        return self.snapshot

    async def _desired(self, observed: Observed) -> Desired:
        # Peers, absent peers and stale neighbors are those of one moment: there is no await between them.
        now = self._clocks.uptime()
        peers, absent = tuple(self._peers), self._peers.absent(now)
        stale = self._stale.refresh(observed, self._peers, now)
        wanted = keep_stale(await self._desired_of.of(peers, self._settings, absent), observed, stale)
        self.stale_neighbors = tuple(sorted(stale & wanted.neighbors.keys(), key=str))
        return wanted

    async def _plan(self, wanted: Desired, observed: Observed) -> Plan:
        todo = await self._applier.plan(wanted, observed)
        self.pending = todo.changes
        if set(todo.operator_neighbors) - set(self.operator_neighbors):
            log.warning("neighbor_not_ours", neighbors=[str(address) for address in todo.operator_neighbors],
                        do="remove the neighbor from FRR, and the agent will write it")  # fmt: skip
        self.operator_neighbors = todo.operator_neighbors
        return todo

    async def _write(self, wanted: Desired, todo: Plan, snapshot: Snapshot) -> str:
        if not todo.changes:
            self._in_sync(wanted, todo, snapshot, repaired=False)
            return "unchanged"
        self._drift.check(snapshot, todo)
        if self._dry_run:
            self._log_dry_run(todo.changes)
            return "dry_run"
        await self._apply(wanted, todo, snapshot)
        return "applied"

    async def _apply(self, wanted: Desired, todo: Plan, snapshot: Snapshot) -> None:
        """Write the changes and read back. Raises ``NotInSync`` if FRR lacks any of them then."""
        left = todo
        self._drift.begin_write()
        if await self._applier.apply(todo.changes, wanted):
            snapshot = await self._observe()
            left = await self._plan(wanted, snapshot.config)
            self._applier.record_ineffective(left.changes)
        self._applier.retain(left.changes)
        if left.changes:
            raise NotInSync(self._applier.missing(left.changes))
        self._in_sync(wanted, left, snapshot, repaired=True)
        log.info("reconciled", changes=len(todo.changes), neighbors=len(wanted.neighbors))

    def _in_sync(self, wanted: Desired, todo: Plan, snapshot: Snapshot, *, repaired: bool) -> None:
        self._drift.in_sync(wanted, todo.operator_neighbors, snapshot, repaired=repaired)
        self._applier.retain(())
        self._would.new(())

    def _log_dry_run(self, changes: tuple[Change, ...]) -> None:
        """Log the changes of a dry run, each once for as long as it is pending."""
        if new := self._would.new(changes):
            log.info("would_reconcile", changes=len(changes), new=len(new))
        for change in new:
            log.info("would_change", change=describe(change))

    def trigger(self) -> None:
        """Request a pass soon."""
        self._trigger.set()

    def reload(self, frr: Frr, bgp: BgpSettings) -> None:
        """Put new settings in force."""
        self._frr, self._settings = frr, bgp
        self.trigger()

    @property
    def trouble(self) -> str | None:
        """Return why FRR is not in sync, ``None`` if the last pass succeeded."""
        return self._trouble.text

    @property
    def problems(self) -> tuple[BgpProblem, ...]:
        """Return the problems in the operator's part of FRR's configuration, as of the last pass."""
        return self._problems.found

    def drops_prefixes_of(self) -> Mapping[Address, tuple[Address, ...]]:
        """Return, by neighbor, the neighbors whose prefixes it receives and drops: they have its own AS number."""
        return {
            address: tuple(sorted(problem.sharing_as - {address}, key=str))
            for problem in self.problems
            for address in problem.sharing_as
        }

    def neighbors(self) -> frozenset[Address] | None:
        """Return the addresses of the agent's neighbors as of the last pass; ``None`` before the first one."""
        return None if self.snapshot is None else self.snapshot.own_neighbors()

    def sessions(self) -> tuple[tuple[Address, Session], ...]:
        """Return the BGP sessions of the agent's neighbors as of the last pass."""
        return () if self.snapshot is None else self.snapshot.own_sessions()

    def neighbor_bindings(self) -> Mapping[Address, Peer]:
        """Return which binding has a peer's neighbor, by the protocol address of each of the peer's bindings."""
        return neighbor_bindings(self._peers, self._settings, self._peers.absent(self._clocks.uptime()))
