"""Keeps the agent's routing tables and rules as they are wanted, also after somebody flushes them."""

from collections.abc import Callable
from typing import Protocol

import structlog

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.routes.netlink_tables import RoutesError
from dmvpn_agent.kernel.routes.tables import Change, DefaultRoute, Observed, Tables, plan
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between two checks without an event, and in which events count as one.
CHECK_INTERVAL, COALESCE = 15.0, 0.2


class KernelTables(Protocol):
    """The kernel's routes and rules."""

    async def observe(self) -> Observed:
        """Return the agent's, and the main table's default routes. Raises ``RoutesError``."""

    async def apply(self, changes: tuple[Change, ...]) -> None:
        """Make the changes in order, up to the first that is refused. Raises ``RoutesError``."""


class RouteReconciler:
    """``desired`` returns the wanted tables, by the main table's default routes.

    In a ``dry_run`` the changes are only logged.
    """

    def __init__(
        self,
        desired: Callable[[frozenset[DefaultRoute]], Tables],
        kernel: KernelTables,
        telemetry: Telemetry,
        *,
        dry_run: bool = False,
    ) -> None:
        self._desired = desired
        self._kernel = kernel
        self._telemetry = telemetry
        self._dry_run = dry_run
        self._reported = Trouble()
        self._trigger = DebouncedEvent()
        self._trouble = Trouble()
        self.observed = Tables()
        telemetry.observe(metrics.ROUTES, lambda: len(self.observed.routes))

    def trigger(self) -> None:
        """Check soon."""
        self._trigger.set()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await self._trigger.wait(within=CHECK_INTERVAL, then=COALESCE)

    async def check(self) -> None:
        """Make one pass: observe, plan, apply, read back."""
        try:
            changes = await self._left()
            if self._dry_run:
                if self._reported.is_new(changes) and changes:
                    log.info("would_change_routes", changes=[str(change) for change in changes])
                return
            if changes:
                await self._kernel.apply(changes)
                if left := await self._left():
                    raise RoutesError(f"the kernel accepted the changes, but does not show all: {left[0]} is left")
                for change in changes:
                    self._telemetry.increment(metrics.ROUTE_CHANGES, change.verb)
                log.info("routes_changed", changes=[str(change) for change in changes])
        except RoutesError as error:
            self._telemetry.increment(metrics.ROUTE_FAILURES)
            if self._trouble.is_new(error):
                log.error("routes_not_changed", why=str(error), consequence="the agent tries again")
            return
        self._trouble.over()

    async def _left(self) -> tuple[Change, ...]:
        """Observe; return the changes that are left to make."""
        seen = await self._kernel.observe()
        self.observed = seen.own
        return plan(self._desired(seen.defaults), seen.own)
