"""A hub's reconciler and binding watch over fakes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import FRR, SETTINGS, Clock, decide, spoke_request
from fakes.bgpd_model import BgpdModel
from fakes.frr import FakeBgpd, FakeNhrpd, MemoryStore
from fakes.frr_states import UNIVERSE
from fakes.waiting import running, until


def accepted(number: int, *networks: str) -> tuple[BindingRequest, Accept]:
    """Return a spoke's request with its decision."""
    request = spoke_request(number, *networks)
    decision = decide(request)
    assert isinstance(decision, Accept)
    return request, decision


class Node:
    """A hub's reconciler and binding watch over fakes. ``restart`` makes a new process of it."""

    def __init__(self, store: MemoryStore, clock: Clock, bgpd: FakeBgpd | None = None) -> None:
        self.store, self.clock = store, clock
        self.bgpd = bgpd or FakeBgpd(BgpdModel(UNIVERSE))
        self.nhrpd = FakeNhrpd()
        self.telemetry = Telemetry()
        self.frr = FRR
        self.dry_run = False
        self.start()

    def start(self) -> None:
        self.peers = Peers(self.store)
        self.peers.load(decide, self.clock.uptime())
        self.reconciler = Reconciler(
            self.frr, SETTINGS, self.peers, self.bgpd, self.telemetry, self.clock.both, dry_run=self.dry_run
        )
        self.bindings = BindingWatch(
            self.frr, self.nhrpd, self.peers, self.telemetry, self.clock.uptime, self.reconciler.trigger
        )

    def accept(self, number: int, *networks: str) -> None:
        self.apply_decision(*accepted(number, *networks))

    def apply_decision(self, request: BindingRequest, decision: Accept) -> None:
        if self.peers.apply_decision(request, decision, self.clock.uptime()):
            self.reconciler.trigger()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running(self.reconciler.run()):
            yield

    async def settled(self) -> None:
        """Wait for a pass that begins from now on and ends in step."""
        for _ in range(2):  # the first to end may have begun before
            before = self.reconciler.last_sync
            self.clock.advance(0.001)
            self.reconciler.trigger()
            await until(lambda: self.reconciler.last_sync != before and self.reconciler.trouble is None)  # noqa: B023

    async def passed(self) -> None:
        """Wait for a pass that begins from now on and fails in nothing."""
        before = self._passes()
        self.reconciler.trigger()
        await until(lambda: self._passes() > before)

    def _passes(self) -> float:
        return sum(self.telemetry.value(metrics.RECONCILES, outcome) for outcome in ("applied", "unchanged"))

    async def attempt(self) -> None:
        """Wait for one more attempt to reach bgpd."""
        attempts = self.bgpd.attempts
        self.reconciler.trigger()
        await until(lambda: self.bgpd.attempts > attempts)

    def configured(self) -> set[str]:
        return set(self.bgpd.model.neighbors)
