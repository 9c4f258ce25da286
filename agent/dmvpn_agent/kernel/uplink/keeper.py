"""Keeps the tunnels on the uplink that works: probes, chooses, and changes the tunnels' local address.

The address of the chosen uplink may change too (DHCP, PPPoE, WWAN): it is compared after every notification of the
kernel. nhrpd notices the new address, asks for new IKE_SAs, and registers again; ``enforcement.hub_sas`` repeats what
fails.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Protocol

import structlog

from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.routes.tables import DefaultRoute, Tables
from dmvpn_agent.kernel.uplink.probes import ProbeImpossible, probe
from dmvpn_agent.kernel.uplink.selection import Condition, Selection
from dmvpn_agent.kernel.uplink.settings import Target, Uplink, UplinkSettings
from dmvpn_agent.kernel.uplink.tunnel_local import TunnelError
from dmvpn_agent.kernel.uplink.uplink_tables import lacks_next_hop, uplink_tables
from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.debounced_event import DebouncedEvent
from dmvpn_agent.runtime.telemetry import Samples, Telemetry

log = structlog.get_logger()

#: Seconds in which several notifications of the kernel count as one: an address is removed and added again.
COALESCE = 0.1


class Kernel(Protocol):
    """The interfaces of this node."""

    def condition(self, interface: str) -> Condition:
        """Return whether an interface is up, and its address."""

    def local_address(self, tunnel: str) -> IPv4Address | None:
        """Return a tunnel's local address. Raises ``TunnelError``."""

    def set_local_address(self, tunnel: str, address: IPv4Address) -> None:
        """Change it. Raises ``TunnelError``."""


class UplinkKeeper:
    """``chosen`` is the name of the uplink in use. In a ``dry_run`` the agent probes and logs, and changes nothing.

    ``changed`` is called after a tunnel's address was changed.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        kernel: Kernel,
        telemetry: Telemetry,
        changed: Callable[[], None],
        *,
        dry_run: bool = False,
    ) -> None:
        self._settings = settings
        self._kernel = kernel
        self._telemetry = telemetry
        self._changed = changed
        self._dry_run = dry_run
        names = [uplink.interface for uplink in settings.uplinks]
        probed = {uplink.interface for uplink in settings.uplinks if uplink.targets}
        self._selection = Selection(names, probed, settings.fall, settings.rise)
        self._began = False
        self._trigger = DebouncedEvent()
        self._troubles: dict[str, Trouble] = {}
        telemetry.observe(metrics.UPLINK_USABLE, self._usable)
        telemetry.observe(metrics.UPLINK_CHOSEN, self._in_use)

    @property
    def chosen(self) -> str | None:
        """Return the uplink in use."""
        return self._selection.chosen

    def trigger(self) -> None:
        """Compare soon: a link or address has changed."""
        self._trigger.set()

    async def run(self) -> None:
        """Keep the tunnels on a working uplink until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for uplink in self._settings.uplinks:
                if uplink.targets:
                    tasks.create_task(self._probe(uplink))
            tasks.create_task(self._keep())

    async def _probe(self, uplink: Uplink) -> None:
        loop, interval = asyncio.get_running_loop(), self._settings.interval
        while True:
            began = loop.time()
            if self._kernel.condition(uplink.interface).present:
                answered = await self._any_answers(uplink)
                if answered is not None:
                    self.note(uplink.interface, answered=answered)
            await asyncio.sleep(max(interval - (loop.time() - began), 0.05))

    async def _any_answers(self, uplink: Uplink) -> bool | None:
        """Tell whether a target answers; ``None`` if this node could ask none."""
        rounds = (self._ask(target, uplink.interface) for target in uplink.targets)
        answers = [answer for answer in await asyncio.gather(*rounds) if answer is not None]
        return any(answers) if answers else None

    async def _ask(self, target: Target, interface: str) -> bool | None:
        trouble = self._troubles.setdefault(f"{target} {interface}", Trouble())
        try:
            answered = await probe(target, interface, self._settings.timeout)
        except ProbeImpossible as error:
            if trouble.is_new(error):
                log.error("uplink_not_probed", interface=interface, target=str(target), why=str(error),
                          consequence="this target does not count")  # fmt: skip
            return None
        trouble.over()
        return answered

    def note(self, interface: str, *, answered: bool) -> None:
        """Note a round of probes."""
        self._telemetry.increment(metrics.UPLINK_PROBES, interface, "answered" if answered else "lost")
        health = self._selection.health[interface]
        if health.note(answered=answered):
            (log.info if answered else log.warning)(
                "uplink_works" if answered else "uplink_fails", interface=interface
            )
            self._trigger.set()

    async def _keep(self) -> None:
        while True:
            self.keep()
            await self._trigger.wait(within=self._settings.interval, then=COALESCE)

    def keep(self) -> None:
        """Choose, and give each tunnel the address of the chosen uplink."""
        conditions = self._conditions()
        if not self._began:
            self._begin(conditions)
        before = self._selection.chosen
        chosen = self._selection.step(conditions)
        if chosen is None:
            return
        if chosen != before:
            self._telemetry.increment(metrics.UPLINK_SWITCHES, chosen)
            log.warning("uplink_chosen", interface=chosen, before=before)
        address = conditions[chosen].address
        if address is not None:
            for tunnel in self._settings.tunnels:
                self._move(tunnel, address.ip)

    def tables(self, defaults: Collection[DefaultRoute]) -> Tables:
        """Return the routing tables of the uplinks, by the main table's default routes."""
        conditions = self._conditions()
        for uplink in self._settings.uplinks:
            trouble = self._troubles.setdefault(f"gateway {uplink.interface}", Trouble())
            if not lacks_next_hop(uplink, conditions[uplink.interface], defaults):
                trouble.over()
            elif trouble.is_new(uplink.interface):
                log.warning("uplink_without_gateway", interface=uplink.interface,
                            consequence="packets from its address leave by the node's other routes",
                            do=f"have the DHCP client or pppd set a default route by {uplink.interface}, with a"
                               " metric of its own, or set gateway of this [[uplink.link]]")  # fmt: skip
        return uplink_tables(self._settings, conditions, defaults)

    def _conditions(self) -> Mapping[str, Condition]:
        return {uplink.interface: self._kernel.condition(uplink.interface) for uplink in self._settings.uplinks}

    def _begin(self, conditions: Mapping[str, Condition]) -> None:
        """Keep the uplink that the tunnels use: a restart of the agent changes nothing that works."""
        self._began = any(condition.present for condition in conditions.values())
        for tunnel in self._settings.tunnels:
            try:
                local = self._kernel.local_address(tunnel)
            except TunnelError:
                continue
            for name, condition in conditions.items():
                if condition.address is not None and condition.address.ip == local:
                    self._selection.adopt(name)
                    return

    def _move(self, tunnel: str, address: IPv4Address) -> None:
        trouble = self._troubles.setdefault(tunnel, Trouble())
        try:
            before = self._kernel.local_address(tunnel)
            if before == address:
                trouble.over()
                return
            if self._dry_run:
                if trouble.is_new(address):
                    log.info("would_move_tunnel", interface=tunnel, local=str(address), before=str(before))
                return
            self._kernel.set_local_address(tunnel, address)
            if self._kernel.local_address(tunnel) != address:
                raise TunnelError(f"{tunnel}: the kernel accepted {address}, but does not show it")
        except TunnelError as error:
            self._telemetry.increment(metrics.TUNNEL_MOVES, "failed")
            if trouble.is_new(error):
                log.error("tunnel_not_moved", interface=tunnel, local=str(address), why=str(error),
                          consequence="the agent tries again")  # fmt: skip
            return
        trouble.over()
        self._telemetry.increment(metrics.TUNNEL_MOVES, "moved")
        log.warning("tunnel_moved", interface=tunnel, local=str(address), before=str(before))
        self._changed()

    def _usable(self) -> Samples:
        conditions = self._conditions()
        return {(name,): float(self._selection.usable(name, conditions)) for name in conditions}

    def _in_use(self) -> Samples:
        names: Iterable[str] = (uplink.interface for uplink in self._settings.uplinks)
        return {(name,): float(name == self.chosen) for name in names}
