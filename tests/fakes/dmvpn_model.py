"""Several nodes with nhrpd, charon and bridge as a model, whose agents' ``Registrations`` are the real ones.

A step is half a second. nhrpd registers with a hub when the first circuit comes, and after a third of the holding
time again; it asks for an IKE_SA when the last circuit goes. It repeats a registration after 2, 6, 14, 30 and 62 s;
after 30 s without success its own binding is gone, and after 126 s it ends the IKE_SA. A hub makes a binding
``delay`` steps after a registration, if the circuit is still there, and drops it with the last circuit; it answers at
once about one that it has. It refuses
the registration of another hub with which it is registered itself. charon notices that a peer has lost an IKE_SA
after ``DEAD`` steps, and a deletion in the next step. The bridge ends a duplicate that this node began after 10 s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from itertools import count

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.bridge.duplicates import duplicates
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.enforcement.hub_sas import HubSas
from dmvpn_agent.enforcement.hub_state import Hub
from dmvpn_agent.enforcement.orphan_sas import PATIENCE_AFTER_ACCEPT, UNBOUND
from dmvpn_agent.enforcement.patience import Lack
from dmvpn_agent.enforcement.registrations import Registrations
from dmvpn_agent.enforcement.sa_requests import SaRequests
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import Clock
from fakes.hubs import FakeConfiguration, FakeHubs
from fakes.sas import FakeKernelSas

STEP = 0.5
#: Steps in which dead peer detection notices, charon starts, and nhrpd asks for an IKE_SA.
DEAD, START, ASK = 70, 6, 2
#: Steps after the first registration at which nhrpd registers.
REGISTRATIONS = frozenset({0, 4, 12, 28, 60, 124})
#: Steps after which an unregistered nhrpd gives its binding up, and ends the IKE_SA; a registered one starts again.
GIVEN_UP, ENDED, REFRESHED = 60, 252, 200
#: Steps in which the bridge ends a duplicate.
SETTLING = 20
BASE = ip_address("203.0.113.10")


@dataclass
class Tunnel:
    """An IKE_SA with its CHILD_SA: ``begun_by`` a node, at a step, known to those in ``ends``."""

    number: int
    begun_by: "Node"
    nodes: tuple["Node", "Node"]
    begun_at: int
    ends: set["Node"]
    rekeyed: int = 0
    lost_at: int | None = None

    def other(self, node: "Node") -> "Node":
        return self.nodes[self.nodes[0] is node]

    def seen_by(self, node: "Node") -> IkeSa:
        peer, world = self.other(node), node.world
        child = ChildSa(self.number, "dmvpn", "INSTALLED", spi_in=f"{self.number}.{self.rekeyed}")
        since = world.clock.now - timedelta(seconds=(world.step - self.begun_at) * STEP)
        return IkeSa(self.number, "dmvpn", "ESTABLISHED", node.address, peer.address, 500, f"CN={node.number}",
                     f"CN={peer.number}", str(self.number), "0", (child,), initiator=self.begun_by is node,
                     established_at=since)  # fmt: skip


@dataclass
class Registration:
    """What nhrpd of a node knows of a hub: whether it is registered, and since when there is no circuit.

    ``began_at``: when the present attempt to register began, or begins; ``None`` without a circuit.
    """

    began_at: int | None = None
    down_at: int | None = 0
    registered: bool = False


class Node(FakeHubs):
    """A node; implements ``Sas``, ``Hubs``, ``Reconnector`` and, for the peers of a hub, what ``OrphanSas`` does."""

    def __init__(self, world: "World", number: int, *, is_hub: bool, delay: int) -> None:
        super().__init__()
        self.world, self.number, self.is_hub, self.delay = world, number, is_hub, delay
        self.address = self.local = BASE + number
        self.away_until = 0
        self.registrations: dict[Node, Registration] = {}
        #: The peers that are bound, with nhrpd's type; those whose registration waits, with the step of its answer.
        self.bound: dict[Node, BindingType] = {}
        self.waiting: dict[Node, int] = {}
        self.duplicate_since: dict[int, int] = {}
        self.unbound_since: dict[int, timedelta] = {}
        #: When the agent ended an IKE_SA, and whose.
        self.ends: list[tuple[int, Address]] = []
        telemetry, clock = Telemetry(), world.clock
        stale = StaleSas(self, FakeKernelSas(), set, telemetry, clock.both)
        names = FakeConfiguration().names(telemetry)
        requests = SaRequests(self, self, stale, telemetry)
        rules = HubSas(self, requests, DenialTable(), self, names, clock.uptime)
        terminator = SaTerminator(self, telemetry, clock.uptime)
        orphans = self if is_hub else None
        self.agent = Registrations(self, rules, orphans, terminator, clock.uptime)  # type: ignore[arg-type]

    # charon

    patched = True

    @property
    def tunnels(self) -> list[Tunnel]:
        return [tunnel for tunnel in self.world.tunnels if self in tunnel.ends]

    def with_peer(self, peer: "Node") -> list[Tunnel]:
        return [tunnel for tunnel in self.tunnels if tunnel.other(self) is peer]

    @property
    def ike_sas(self) -> tuple[IkeSa, ...]:
        return tuple(tunnel.seen_by(self) for tunnel in self.tunnels)

    def our_sas(self) -> Iterator[IkeSa]:
        yield from self.ike_sas

    def sas_at(self, address: Address) -> tuple[IkeSa, ...]:
        return tuple(sa for sa in self.ike_sas if sa.remote_host == address)

    def sas_of(self, _: str, address: Address) -> tuple[IkeSa, ...]:
        return self.sas_at(address)

    def has_connection(self, _: str) -> bool:
        return self.world.step >= self.away_until

    async def refresh(self) -> None:
        """Do nothing: all is known at once."""

    async def end(self, sa: IkeSa) -> None:
        self.ends.append((self.world.step, sa.remote_host))
        self.terminate(sa.unique_id)

    def terminate(self, number: int) -> None:
        tunnel = next(one for one in self.tunnels if one.number == number)
        tunnel.ends.discard(self)
        tunnel.lost_at = self.world.step + 1 - DEAD  # the peer is told

    async def rekey_children(self, sa: IkeSa) -> None:
        tunnel = next(one for one in self.tunnels if one.number == sa.unique_id)
        if len(tunnel.ends) == 2:
            tunnel.rekeyed += 1

    async def initiate(self, _: str, local: Address, remote: Address) -> None:
        self.world.begin(self, self.world.at(remote))

    def kill_charon(self) -> None:
        self.away_until = self.world.step + START
        for tunnel in self.tunnels:
            tunnel.ends.discard(self)
            tunnel.lost_at = self.world.step

    # nhrpd

    async def read(self) -> list[Hub]:
        return [
            Hub("gre1", hub.address, one.registered or self.bound.get(hub) is BindingType.DYNAMIC, str(hub.address))
            for hub, one in self.registrations.items()
        ]

    def restart_nhrpd(self) -> None:
        """Lose all bindings; its own registrations start again."""
        self.bound.clear()
        self.waiting.clear()
        for hub in self.registrations:
            self.registrations[hub] = Registration()

    def step_nhrpd(self) -> None:
        now = self.world.step
        for peer in {*self.bound, *self.waiting}:
            if not self.with_peer(peer):
                self.bound.pop(peer, None)
                self.waiting.pop(peer, None)
        for peer in [peer for peer, due in self.waiting.items() if now >= due]:
            del self.waiting[peer]
            self._answer(peer)
        for hub, one in self.registrations.items():
            self._step_registration(hub, one, now)

    def _answer(self, peer: "Node") -> None:
        """Answer a peer's registration."""
        refused = self.bound.get(peer) is BindingType.NHS
        if refused and not self.world.one_name:
            return
        if not refused:
            self.bound[peer] = BindingType.DYNAMIC
        peer.registrations[self] = Registration(self.world.step + REFRESHED, None, registered=True)
        peer.bound[self] = BindingType.NHS

    def _step_registration(self, hub: "Node", one: Registration, now: int) -> None:
        if not self.with_peer(hub):
            if one.began_at is not None or one.down_at is None:
                self.registrations[hub] = one = Registration(down_at=now)
            if now - (one.down_at or 0) == ASK:
                self.world.begin(self, hub)
            return
        if one.began_at is None:
            one.began_at, one.down_at = now, None
        since = now - one.began_at
        if since in REGISTRATIONS and hub.with_peer(self):
            hub.waiting.setdefault(self, now + (0 if self in hub.bound else hub.delay))
        if since == GIVEN_UP and one.registered:
            one.registered = False
            if self.bound.get(hub) is BindingType.NHS:
                del self.bound[hub]
        if since == ENDED:
            one.began_at = now
            self.terminate(self.with_peer(hub)[0].number)

    # the bridge

    def end_duplicates(self) -> None:
        """End the duplicates that this node began."""
        now = self.world.step
        found = [sa for sa, _ in duplicates(self.ike_sas) if sa.initiator]
        self.duplicate_since = {sa.unique_id: self.duplicate_since.get(sa.unique_id, now) for sa in found}
        for number, since in self.duplicate_since.items():
            if now - since >= SETTLING:
                self.terminate(number)

    # what OrphanSas does, with its shortest patience

    def check(self) -> list[Lack]:
        now = self.world.clock.uptime()
        unbound = [tunnel for tunnel in self.tunnels if tunnel.other(self) not in self.bound]
        self.unbound_since = {one.number: self.unbound_since.get(one.number, now) for one in unbound}
        return [
            Lack((one.seen_by(self),), UNBOUND, self.unbound_since[one.number], PATIENCE_AFTER_ACCEPT)
            for one in unbound
        ]

    def report(self, _: Lack) -> None:
        """Log nothing."""

    def read_again(self) -> None:
        """Do nothing: all is known at once."""


class World:
    """Hubs, and spokes that register with all hubs.

    ``mutual``: hubs register with each other; otherwise only a later one with an earlier one. ``one_name``: their
    configurations name all of them by one DNS name, so that nhrpd takes a refusal for an answer.
    """

    def __init__(self, hub_delays: list[int], spokes: int, *, mutual: bool = False, one_name: bool = False) -> None:
        self.one_name = one_name
        self.clock = Clock()
        self.step = 0
        self.tunnels: list[Tunnel] = []
        self._numbers = count(1)
        hubs = [Node(self, number, is_hub=True, delay=delay) for number, delay in enumerate(hub_delays)]
        self.nodes = [*hubs, *(Node(self, len(hubs) + one, is_hub=False, delay=0) for one in range(spokes))]
        for node in self.nodes:
            named = [hub for hub in hubs if hub is not node and (mutual or hub.number < node.number)]
            node.registrations = {hub: Registration() for hub in named}
        self._calls: list[tuple[int, Node, Node]] = []

    def at(self, address: Address) -> Node:
        return next(node for node in self.nodes if node.address == address)

    def begin(self, node: Node, peer: Node) -> None:
        """Have a node begin an IKE_SA, if both charons are there."""
        if self.step >= max(node.away_until, peer.away_until):
            self.tunnels.append(Tunnel(next(self._numbers), node, (node, peer), self.step, {node, peer}))

    def kill_charon(self, node: Node) -> None:
        """Kill a node's charon. A hub calls those that have registered with it when it is back."""
        registered = [peer for peer, kind in node.bound.items() if kind is BindingType.DYNAMIC]
        called = [peer for peer in registered if peer not in node.registrations]
        node.kill_charon()
        self._calls += [(node.away_until, node, peer) for peer in called]

    async def go(self) -> None:
        """Make a step."""
        self.step += 1
        self.clock.advance(STEP)
        for tunnel in self.tunnels:
            if tunnel.lost_at is not None and self.step - tunnel.lost_at >= DEAD:
                tunnel.ends.clear()
        self.tunnels = [tunnel for tunnel in self.tunnels if tunnel.ends]
        for due, node, peer in self._calls:
            if due == self.step:
                self.begin(node, peer)
        for node in self.nodes:
            node.step_nhrpd()
            node.end_duplicates()
        for node in self.nodes:
            await node.agent.check()

    @property
    def complete(self) -> bool:
        """Tell whether each node and each of its hubs have one IKE_SA, and are bound at both ends."""
        return all(
            node in hub.bound and hub in node.bound and len(hub.with_peer(node)) == 1
            for node in self.nodes
            for hub in node.registrations
        )
