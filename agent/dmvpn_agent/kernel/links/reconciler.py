"""Keeps the tunnel interfaces as configured: observe, plan, apply, read back.

There is one writer. The kernel's notifications start a pass at once, so that a deleted interface or address is back
within a second. What the kernel refuses is tried again with back-off, and reported once. If another program takes a
change back each time, the agent logs that and stops for a while.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import chain
from typing import Protocol

import structlog

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.events import AddressEvent, KernelEvent, LinkEvent
from dmvpn_agent.kernel.links import problem
from dmvpn_agent.kernel.links.changes import Cause, CreateLink, LinkChange, cause_of, commands
from dmvpn_agent.kernel.links.contest import ROUNDS, Contest
from dmvpn_agent.kernel.links.kernel_links import LinkError
from dmvpn_agent.kernel.links.observed import Observed
from dmvpn_agent.kernel.links.plan import LinkPlan, plan
from dmvpn_agent.kernel.links.problem import LinkProblem
from dmvpn_agent.kernel.links.settings import TunnelSettings
from dmvpn_agent.runtime.backoff import Backoff, Troubles
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds between passes without an event; and from an event to its pass, so that what comes together is one pass.
CHECK_INTERVAL = 30.0
COALESCE = 0.1


class _Stopped(Exception):
    """Another program contests the change."""


class Links(Protocol):
    """The interfaces of this node."""

    async def observe(self, tunnels: Iterable[TunnelSettings]) -> Observed:
        """Return the interfaces and the tunnels' kernel settings. Raises ``LinkError``."""

    async def apply(self, change: LinkChange) -> None:
        """Make one change. Raises ``LinkError``."""


def _configured(tunnels: Mapping[str, TunnelSettings]) -> dict[str, TunnelSettings]:
    return {name: settings for name, settings in tunnels.items() if settings.wants_anything}


class LinkReconciler:
    """The one writer of the tunnel interfaces. With ``dry_run`` it logs the changes that it would make.

    ``left``: by interface, what differs from the configuration as of the last pass. ``problems``: why.
    """

    def __init__(
        self,
        tunnels: Mapping[str, TunnelSettings],
        links: Links,
        telemetry: Telemetry,
        clocks: Clocks,
        *,
        dry_run: bool = False,
    ) -> None:
        self._tunnels = _configured(tunnels)
        self._links = links
        self._telemetry = telemetry
        self._dry_run = dry_run
        self._trigger = DebouncedEvent()
        self._contest = Contest[tuple[str, Cause]](clocks.uptime)
        self._settled: set[str] = set()
        self._reported = Troubles[LinkProblem]()
        self._would = Troubles[LinkChange]()
        self._locals: dict[str, IPv4Address] = {}
        self.left: dict[str, tuple[LinkChange, ...]] = {}
        self.problems: tuple[LinkProblem, ...] = ()
        for cause in Cause:
            telemetry.increment(metrics.TUNNEL_REPAIRS, cause, by=0)
        for kind in problem.Kind:
            telemetry.increment(metrics.TUNNEL_FAILURES, kind, by=0)

    def kernel_changed(self, event: KernelEvent) -> None:
        """Make a pass soon, if the event is about a tunnel interface or what one depends on."""
        if isinstance(event, LinkEvent) and event.name not in self._names():
            return
        if isinstance(event, AddressEvent) and event.interface not in self._tunnels:
            return
        self._trigger.set()

    def _names(self) -> set[str]:
        return {
            name
            for tunnel in self._tunnels.values()
            for name in (tunnel.name, tunnel.device, tunnel.vrf)
            if name is not None
        }

    def reload(self, tunnels: Mapping[str, TunnelSettings]) -> None:
        """Put new settings in force."""
        if (wanted := _configured(tunnels)) != self._tunnels:
            self._tunnels = wanted
            self._contest.forget()
            self._settled.clear()
            self._trigger.set()

    async def run(self) -> None:
        """Make passes until cancelled."""
        backoff = Backoff(0.5, CHECK_INTERVAL)
        while True:
            refused = await self.reconcile()
            wait = min(backoff.failed(), CHECK_INTERVAL) if refused else CHECK_INTERVAL
            if not refused:
                backoff.succeeded()
            await self._trigger.wait(within=wait, then=COALESCE)

    async def reconcile(self) -> bool:
        """Make one pass; return whether the kernel refused anything."""
        if not self._tunnels:
            return False
        refused: list[LinkProblem] = []
        try:
            plans = await self._plans()
            if not self._dry_run:
                applied = [change for name in plans if self._tunnels[name].manages
                           for change in await self._apply(plans[name].changes, refused)]  # fmt: skip
                if applied:
                    plans = await self._plans()
            self._note(plans, refused)
        except LinkError as error:
            refused.append(error.problem)
            self.problems = (error.problem,)
        for found in refused:
            self._telemetry.increment(metrics.TUNNEL_FAILURES, found.kind)
        for found in self._reported.new(self.problems):
            log.error("tunnel_problem", interface=found.interface, kind=str(found.kind), why=found.found, do=found.do)
        return bool(refused)

    async def _plans(self) -> dict[str, LinkPlan]:
        tunnels = self._tunnels
        observed = await self._links.observe(tunnels.values())
        return {name: plan(self._with_local(settings, observed), observed) for name, settings in tunnels.items()}

    def _with_local(self, settings: TunnelSettings, observed: Observed) -> TunnelSettings:
        """Return the settings with the last local address, if a new interface would have none.

        Where ``[uplink]`` has the tunnel, it keeps that address, and looks at the new interface a moment later.
        """
        name, link = settings.name, observed.links.get(settings.name)
        if settings.local is not None or settings.device is not None:
            return settings
        if link is None:
            return replace(settings, local=self._locals.get(name))
        if link.gre and link.gre.local:
            self._locals[name] = link.gre.local
        return settings

    async def _apply(self, changes: Iterable[LinkChange], refused: list[LinkProblem]) -> list[LinkChange]:
        """Apply the changes of one interface; a refused one does not stop the others."""
        applied: list[LinkChange] = []
        for change in changes:
            key = change.interface, cause_of(change)
            # What follows on a new interface is no drift of its own.
            drift = change.interface in self._settled and not (applied and isinstance(applied[0], CreateLink))
            try:
                if self._contest.stopped(key):
                    raise _Stopped
                await self._links.apply(change)
            except (LinkError, _Stopped) as error:
                refused += [error.problem] if isinstance(error, LinkError) else []
                if isinstance(change, CreateLink):
                    break  # the others need the interface
                continue
            applied.append(change)
            text = "; ".join(commands(change))
            if drift:
                self._telemetry.increment(metrics.TUNNEL_REPAIRS, key[1])
                self._contest.note(key)
                log.warning("tunnel_repaired", interface=key[0], cause=str(key[1]), command=text)
            else:
                log.info("tunnel_changed", interface=key[0], cause=str(key[1]), command=text)
        return applied

    def _note(self, plans: Mapping[str, LinkPlan], refused: list[LinkProblem]) -> None:
        """Note what is left after a pass."""
        self.left = {name: found.changes for name, found in plans.items() if found.changes}
        self._settled |= {name for name, found in plans.items() if not found.changes and not found.problems}
        fights = [
            problem.contested(change.interface, next(iter(commands(change))), ROUNDS)
            for change in chain.from_iterable(self.left.values())
            if self._contest.stopped((change.interface, cause_of(change)))
        ]
        self.problems = (*chain.from_iterable(found.problems for found in plans.values()), *refused, *fights)
        for change in self._would.new(chain.from_iterable(self.left.values())):
            if self._dry_run and self._tunnels[change.interface].manages:
                log.info("would_change_tunnel", interface=change.interface, command="; ".join(commands(change)))
            elif not self._tunnels[change.interface].manages:
                log.warning("tunnel_differs", interface=change.interface, cause=str(cause_of(change)),
                            do="; ".join(commands(change)))  # fmt: skip

    def in_sync(self) -> dict[tuple[str, ...], float]:
        """Return for each tunnel interface whether it is as configured."""
        troubled = {found.interface for found in self.problems}
        return {(name,): float(name not in self.left and name not in troubled) for name in self._tunnels}
