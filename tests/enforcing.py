"""A node whose parts act on a fake charon."""

from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.enforcement.enforcer import Enforcer
from dmvpn_agent.enforcement.hub_sas import HubSas
from dmvpn_agent.enforcement.lost_peers import LostPeers
from dmvpn_agent.enforcement.nat_guard import NatGuard
from dmvpn_agent.enforcement.orphan_sas import OrphanSas
from dmvpn_agent.enforcement.reconnections import Reconnections
from dmvpn_agent.enforcement.registrations import Registrations
from dmvpn_agent.enforcement.sa_requests import SaRequests
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.enforcement.teardown_watch import TeardownWatch
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import Clock, decide
from fakes.frr import MemoryStore
from fakes.hubs import FakeConfiguration, FakeHubs
from fakes.sas import FakeKernelSas, FakeSas

SPOKE1 = "OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1"
REVOKED = Deny(Reason.CERTIFICATE_REVOKED, "serial", "1", "another")


class Node:
    """The parts that act on charon, over a fake of it."""

    def __init__(self, store: MemoryStore, telemetry: Telemetry, clock: Clock, *, dry_run: bool = False) -> None:
        self.clock, self.telemetry = clock, telemetry
        self.sas = FakeSas()
        self.peers = Peers(store)
        self.denied = DenialTable()
        self.ender = SaTerminator(self.sas, telemetry, clock.uptime, dry_run=dry_run)
        self.kernel = FakeKernelSas()
        stale = StaleSas(self.sas, self.kernel, self.nbma_addresses, telemetry, clock.both, dry_run=dry_run)
        requests = SaRequests(self.sas, self.sas, stale, telemetry)
        names = FakeConfiguration().names(telemetry, dry_run=dry_run)
        self.nhrpd_hubs = FakeHubs()
        hubs = HubSas(self.sas, requests, self.denied, self.nhrpd_hubs, names, clock.uptime, dry_run=dry_run)
        self.reconnections = Reconnections(
            self.sas, requests, hubs, self.denied, clock.uptime, dry_run=dry_run
        )  # fmt: skip
        guard = NatGuard(self.sas, self.ender, self.peers, self.denied, telemetry, clock.uptime, None)
        self.enforcer = Enforcer(
            self.sas, self.ender, self.reconnections, guard, self.peers, self.denied, ends_denied=True
        )
        self.bound: frozenset[Any] = frozenset()
        self.last_read: Any = None
        self.reads_wanted = 0
        self.orphans = OrphanSas(self.sas, self.peers, self.denied, self, clock.uptime)
        self.registrations = Registrations(self.sas, hubs, self.orphans, self.ender, clock.uptime)
        self.neighbors: frozenset[Any] = frozenset()
        self.departures = TeardownWatch(
            self.peers, self.sas, lambda: self.bound, lambda: self.neighbors, telemetry, clock.uptime
        )  # fmt: skip

        self.lost = LostPeers(self.sas, self.peers, self.reconnections, stale, {BindingType.DYNAMIC})

    def nbma_addresses(self) -> set[Address]:
        return {member.request.nbma_address for member in self.peers.memberships()}

    def present(self, number: int = 1, identity: str = SPOKE1, **options: Any) -> None:
        self.sas.arrive(number, identity, **options)
        self.sas.show()

    def accept(self, asked: BindingRequest) -> None:
        decision = decide(asked)
        assert isinstance(decision, Accept)
        self.peers.apply_decision(asked, decision, self.clock.uptime())

    def trigger(self) -> None:
        self.reads_wanted += 1

    async def wait(self, seconds: float) -> None:
        """Let time go by; nhrpd's cache is read again at its end."""
        self.clock.advance(seconds)
        self.last_read = self.clock.uptime()
        await self.registrations.check()
