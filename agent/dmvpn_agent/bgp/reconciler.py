"""Keeps FRR in step with who is accepted: observe, compare, correct, read back.

One writer. What arrives within the coalescing time is applied together. Nothing that was missed matters for
long: every pass starts from what FRR shows, and a pass is made at each resync even if nothing seems to have happened.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.bgpd import Bgpd, FrrRefused, FrrUnavailable, Snapshot
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.desired import desired, neighbor_bindings
from dmvpn_agent.bgp.drift_watch import DriftWatch
from dmvpn_agent.bgp.neighbors import Desired, Observed, deny_any, owns_list, owns_neighbor
from dmvpn_agent.bgp.plan import Change, Plan, RefreshInbound, plan, subject
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.bgp.problem_watch import BgpProblemWatch
from dmvpn_agent.bgp.problems import without_blocked
from dmvpn_agent.bgp.refusals import Refusals
from dmvpn_agent.bgp.sessions import Session
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.frr.settings import Frr
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds before a pass that failed is tried again; the longest wait is the resync interval.
FIRST_RETRY_INTERVAL = 0.5


class NotReady(Exception):
    """The pass could not bring FRR to the desired state; it is tried again."""


class Reconciler:
    """The one writer to FRR. ``dry_run``: it writes nothing, and says what it would.

    ``orphans``: neighbors that are kept until the linger time is over, although their peers are not known because the
    agent's memory was lost. While there are any, FRR is not in step.
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
        self._would: frozenset[Change] = frozenset()
        self._drift = DriftWatch(telemetry)
        self._trigger = DebouncedEvent()
        self._problems = BgpProblemWatch()
        self._refusals = Refusals(FIRST_RETRY_INTERVAL, frr.resync_interval)
        self._orphans_until: timedelta | None = None
        self._orphans: frozenset[Address] | None = None
        # bgpd judges no announcement again by itself, nor does its configuration tell that one waits for that.
        self._stale: set[Address] = set()
        self.snapshot: Snapshot | None = None
        self.pending: tuple[Change, ...] = ()
        self.operator_neighbors: tuple[Address, ...] = ()
        self.stale_neighbors: tuple[Address, ...] = ()
        self.last_sync: datetime | None = None
        self._trouble = Trouble()

    @property
    def trouble(self) -> str | None:
        """Return why FRR could not be brought into step, if so."""
        return self._trouble.text

    @property
    def problems(self) -> tuple[BgpProblem, ...]:
        """Return what in the operator's part of FRR hinders the agent, as last seen."""
        return self._problems.found

    def trigger(self) -> None:
        """Ask for a pass soon."""
        self._trigger.set()

    def neighbors(self) -> frozenset[Address] | None:
        """Return the addresses of the neighbors that are ours, as last seen; ``None`` before the first look."""
        if self.snapshot is None:
            return None
        neighbors = self.snapshot.config.neighbors
        return frozenset(address for address, neighbor in neighbors.items() if owns_neighbor(neighbor))

    def neighbor_bindings(self) -> Mapping[Address, Peer]:
        """Return which binding carries the neighbor of a peer, by the protocol address of each of its bindings."""
        return neighbor_bindings(self._peers, self._settings, self._peers.absent(self._clocks.uptime()))

    def sessions(self) -> tuple[tuple[Address, Session], ...]:
        """Return the BGP sessions of the neighbors that are ours, as last seen."""
        if self.snapshot is None:
            return ()
        neighbors = self.snapshot.config.neighbors
        return tuple(
            (address, session)
            for address, session in self.snapshot.sessions.items()
            if address in neighbors and owns_neighbor(neighbors[address])
        )

    def reload(self, frr: Frr, bgp: BgpSettings) -> None:
        """Put new settings in force."""
        self._frr, self._settings = frr, bgp
        self.trigger()

    async def run(self) -> None:
        """Make passes until cancelled; failed ones are tried again with back-off."""
        if self._orphans_until is None:  # a part that failed is started again; the agent is not
            self._orphans_until = self._clocks.uptime() + timedelta(seconds=self._frr.linger)
        backoff = Backoff(FIRST_RETRY_INTERVAL, self._frr.resync_interval)
        while True:
            wait = self._frr.resync_interval
            try:
                await self._pass()
                backoff.succeeded()
            except (NotReady, FrrUnavailable) as error:
                self._say_trouble(str(error))
                wait = min(wait, backoff.failed())
            except Exception as error:
                self._say_trouble(repr(error))
                raise
            await self._trigger.wait(within=wait, then=self._frr.coalesce)

    def _say_trouble(self, why: str) -> None:
        self._telemetry.increment(metrics.RECONCILES, "failed")
        if self._trouble.is_new(why):
            log.warning("reconcile_failed", why=why, pending=len(self.pending))

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

    async def _reconcile(self) -> str:
        snapshot = await self._observe()
        goal = await self._wanted(snapshot.config)
        found = await self._problems.check(snapshot, self._settings, goal)
        wanted = without_blocked(goal, snapshot.config, found)
        todo = await self._plan(wanted, snapshot.config)
        if any(problem.blocks_all for problem in found) and (goal.neighbors or todo.changes):
            raise NotReady("; ".join(map(str, found)))
        outcome = await self._write(wanted, todo, snapshot) if todo.changes else self._in_step(wanted, todo, snapshot)
        if blocking := [str(problem) for problem in found if problem.blocks]:
            raise NotReady("; ".join(blocking))
        return outcome

    def _in_step(self, wanted: Desired, todo: Plan, snapshot: Snapshot) -> str:
        self._drift.in_step(wanted, todo.operator_neighbors, snapshot, repaired=False)
        self._refusals.keep(())
        self._would = frozenset()
        return "unchanged"

    async def _write(self, wanted: Desired, todo: Plan, snapshot: Snapshot) -> str:
        self._drift.check(snapshot, todo)
        if self._dry_run:
            self._say_what_would_be(todo.changes)
            return "dry_run"
        left = todo
        if due := self._refusals.due(todo.changes):
            self._drift.writing()
            await self._apply(due, wanted)
            snapshot = await self._observe()
            left = await self._plan(wanted, snapshot.config)
            for change in left.changes:
                if not self._refusals.is_known(change):
                    self._refusals.add(change, "FRR took it, and does not show it")
        self._refusals.keep(left.changes)
        if left.changes:
            first, why = left.changes[0], self._refusals.why(left.changes[0])
            raise NotReady(
                f"FRR lacks {len(left.changes)} changes after they were written; the first: {describe(first)}"
                + (f" ({why})" if why else "")
            )
        self._drift.in_step(wanted, left.operator_neighbors, snapshot, repaired=True)
        log.info("reconciled", changes=len(todo.changes), neighbors=len(wanted.neighbors))
        return "applied"

    def _say_what_would_be(self, changes: tuple[Change, ...]) -> None:
        """Name the changes of a dry run, each once for as long as it is to be made."""
        new = [change for change in changes if change not in self._would]
        if new:
            log.info("would_reconcile", changes=len(changes), new=len(new))
        for change in new:
            log.info("would_change", change=describe(change))
        self._would = frozenset(changes)

    async def _observe(self) -> Snapshot:
        self.snapshot = await self._bgpd.observe()
        return self.snapshot

    async def _plan(self, wanted: Desired, observed: Observed) -> Plan:
        todo = await asyncio.to_thread(plan, wanted, observed, frozenset(self._stale))
        if not self._dry_run:
            self._stale = {change.address for change in todo.changes if isinstance(change, RefreshInbound)}
        self.pending = todo.changes
        if set(todo.operator_neighbors) - set(self.operator_neighbors):
            log.warning("neighbor_not_ours", neighbors=[str(address) for address in todo.operator_neighbors],
                        do="remove the neighbor from FRR, and the agent will write it")  # fmt: skip
        self.operator_neighbors = todo.operator_neighbors
        return todo

    async def _wanted(self, observed: Observed) -> Desired:
        peers = tuple(self._peers)  # and who is absent, or an orphan, at one moment
        absent = self._peers.absent(self._clocks.uptime())
        if self._orphans is None:
            self._orphans = frozenset(
                address for address, neighbor in observed.neighbors.items()
                if owns_neighbor(neighbor) and address not in self._peers
            )  # fmt: skip
        if self._orphans_until is None or self._clocks.uptime() > self._orphans_until:
            self._orphans = frozenset()
        # Whoever was judged since has what follows from that, and nothing of before.
        self._orphans = frozenset(address for address in self._orphans if not self._peers.was_judged(address))
        orphans = self._orphans
        # In threads, what takes long with a thousand neighbors: nhrpd is answered meanwhile.
        wanted = _with_orphans(await asyncio.to_thread(desired, peers, self._settings, absent), observed, orphans)
        self.stale_neighbors = tuple(sorted(orphans & wanted.neighbors.keys(), key=str))
        return wanted

    async def _apply(self, changes: tuple[Change, ...], wanted: Desired) -> None:
        """Write changes: together what was not refused before, and the rest, or all after a refusal, one by one."""
        fresh = tuple(change for change in changes if not self._refusals.is_known(change))
        try:
            if fresh:
                await self._bgpd.apply(fresh)
        except FrrRefused as refusal:
            log.warning("batch_refused", why=str(refusal), changes=len(fresh))
        else:
            self._done(fresh, "applied")
            if len(fresh) == len(changes):
                return
        await self._apply_singly(wanted)

    async def _apply_singly(self, wanted: Desired) -> None:
        # vtysh stops at the first command that fails: one by one, a bad change is alone. What else is to be done to
        # the same list or neighbor counts on the refused one, and is left for a later pass.
        refused: set[str] = set()
        todo = await self._plan(wanted, (await self._observe()).config)
        for change in self._refusals.due(todo.changes):
            if subject(change) in refused:
                continue
            try:
                await self._bgpd.apply((change,))
            except FrrRefused as refusal:
                refused.add(subject(change))
                self._done((change,), "refused")
                if self._refusals.add(change, str(refusal)):
                    log.error("change_refused", change=describe(change), why=str(refusal))
            else:
                self._done((change,), "applied")

    def _done(self, changes: tuple[Change, ...], outcome: str) -> None:
        for change in changes:
            if isinstance(change, RefreshInbound):
                self._stale.discard(change.address)
            self._telemetry.increment(metrics.CHANGES, type(change).__name__, outcome)


def _with_orphans(wanted: Desired, observed: Observed, orphans: frozenset[Address]) -> Desired:
    """Keep, as they are, neighbors of ours whose peers we do not know, after our memory of them was lost."""
    kept = {
        address: neighbor
        for address, neighbor in observed.neighbors.items()
        if address in orphans and address not in wanted.neighbors and owns_neighbor(neighbor)
    }
    lists = {
        name: frozenset(observed.prefix_lists.get(name, {}).values()) - {deny_any(name)}
        for neighbor in kept.values()
        for name in neighbor.prefix_lists
        if owns_list(name)
    }
    return replace(
        wanted,
        neighbors={**kept, **wanted.neighbors},
        prefix_lists={**lists, **wanted.prefix_lists},
    )
