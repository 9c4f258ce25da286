"""Writes the changes of a plan, and remembers those that bgpd refused."""

from collections.abc import Sequence

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.bgpd import Bgpd, FrrRefused
from dmvpn_agent.bgp.change_text import describe
from dmvpn_agent.bgp.neighbors import Desired, Observed
from dmvpn_agent.bgp.plan import Change, Plan, RefreshInbound, SetNeighbor, plan, recreate, subject
from dmvpn_agent.bgp.refusals import Refusals
from dmvpn_agent.runtime.last_result import LastResult
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()


class Applier:
    """Writes changes in one batch; if bgpd refuses one of them, the remaining ones one by one."""

    def __init__(self, bgpd: Bgpd, telemetry: Telemetry, refusals: Refusals) -> None:
        self._bgpd = bgpd
        self._telemetry = telemetry
        self._refusals = refusals
        # bgpd does not apply a changed prefix-list to routes it has, and its configuration does not show that.
        self._refresh_pending: frozenset[Address] = frozenset()
        self._plan_of = LastResult(plan)

    async def plan(self, wanted: Desired, observed: Observed) -> Plan:
        """Return what turns the observed configuration into the desired one."""
        return await self._plan_of.of(wanted, observed, self._refresh_pending)

    async def apply(self, changes: Sequence[Change], wanted: Desired) -> bool:
        """Write the changes of a plan, except those whose retry is not due; return whether any was due.

        What bgpd refuses is logged and retried later. Raises ``FrrUnavailable``.
        """
        pending = (change.address for change in changes if isinstance(change, RefreshInbound))
        self._refresh_pending = frozenset(pending)
        if due := self._refusals.due(changes):
            await self._apply_batch(due, wanted)
        return bool(due)

    async def _apply_batch(self, changes: Sequence[Change], wanted: Desired) -> None:
        fresh = tuple(change for change in changes if not self._refusals.is_known(change))
        try:
            if fresh:
                await self._bgpd.apply(fresh)
        except FrrRefused as refusal:
            log.warning("batch_refused", why=str(refusal), changes=len(fresh))
        else:
            self._applied(fresh)
            if len(fresh) == len(changes):
                return
        await self._apply_singly(wanted)

    async def _apply_singly(self, wanted: Desired) -> None:
        # bgpd stops at the first refused command, so each change is written alone. Further changes to the same list
        # or neighbor depend on the refused one and are left to a later pass.
        refused: set[str] = set()
        observed = (await self._bgpd.observe()).config
        todo = await self.plan(wanted, observed)
        for change in self._refusals.due(todo.changes):
            if subject(change) in refused:
                continue
            try:
                await self._apply_one(change, observed)
            except FrrRefused as refusal:
                refused.add(subject(change))
                self._telemetry.increment(metrics.CHANGES, type(change).__name__, "refused")
                if self._refusals.add(change, str(refusal)):
                    log.error("change_refused", change=describe(change), why=str(refusal))

    async def _apply_one(self, change: Change, observed: Observed) -> None:
        """Write one change; if bgpd refuses a neighbor its filter, write the neighbor anew, or remove it.

        The filter of its group alone may permit more than its certificate does. Raises ``FrrRefused``.
        """
        changes: tuple[Change, ...] = (change,)
        try:
            await self._bgpd.apply(changes)
        except FrrRefused as refusal:
            if not (isinstance(change, SetNeighbor) and change.filters):
                raise
            log.warning("filter_refused", change=describe(change), why=str(refusal),
                        consequence="the neighbor is removed and written anew, which ends its session")  # fmt: skip
            changes = recreate(change, observed)
            try:
                await self._bgpd.apply(changes)
            except FrrRefused:
                await self._bgpd.apply(changes[:1])
                raise
        self._applied(changes)

    def _applied(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, RefreshInbound):
                self._refresh_pending -= {change.address}
            self._telemetry.increment(metrics.CHANGES, type(change).__name__, "applied")

    def record_ineffective(self, left: Sequence[Change]) -> None:
        """Record the changes that FRR took without effect: they are still to be made after they were written."""
        for change in left:
            if not self._refusals.is_known(change):
                self._refusals.add(change, "FRR took it, and does not show it")

    def retain(self, left: Sequence[Change]) -> None:
        """Forget the refusals of changes that are not to be made any more."""
        self._refusals.retain(left)

    def missing(self, left: Sequence[Change]) -> str:
        """Return a message about the changes that FRR lacks."""
        why = self._refusals.why(left[0])
        return f"FRR lacks {len(left)} changes after they were written; the first: {describe(left[0])}" + (
            f" ({why})" if why else ""
        )
