"""How a decision reaches peers that are connected already: IKE_SAs are ended, and asked for."""

from collections.abc import Callable

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.components.admission import AdmissionComponents
from dmvpn_agent.components.context import Context
from dmvpn_agent.config.settings import Config
from dmvpn_agent.enforcement import metrics
from dmvpn_agent.enforcement.enforcer import Enforcer
from dmvpn_agent.enforcement.frr_hubs import FrrHubs
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
from dmvpn_agent.kernel.events import AddressEvent, KernelEvent, LinkEvent, RouteEvent, brings_back, may_change_paths
from dmvpn_agent.kernel.nftables.program import Nftables
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime.supervisor import Part
from dmvpn_agent.view.recorded import HistoryWriter, RecordedHubNames, RecordedReconnector
from dmvpn_agent.view.recorded_kernel import RecordedXfrm
from dmvpn_agent.x509.certificate import Role


class EnforcementComponents:
    """``orphan_sas`` is ``None`` on a spoke.

    ``neighbors`` returns the addresses of the agent's BGP neighbors; ``None`` while they are unknown.
    """

    def __init__(
        self,
        context: Context,
        writer: HistoryWriter,
        charon: CharonWatch,
        admission: AdmissionComponents,
        nftables: Nftables,
        neighbors: Callable[[], frozenset[Address] | None],
    ) -> None:
        context.telemetry.expect(metrics)
        self._context = context
        self._charon = charon
        self._admission = admission
        uptime, dry_run = context.clocks.uptime, context.dry_run
        peers, denials, bindings = admission.peers, admission.denials, admission.bindings
        self.terminator = SaTerminator(charon, context.telemetry, uptime, dry_run=dry_run)
        self.stale_sas = self._make_stale_sas(writer)
        self.sa_requests = self._make_sa_requests(writer)
        self.hub_sas = self._make_hub_sas(writer)
        self.reconnections = Reconnections(charon, self.sa_requests, self.hub_sas, denials, uptime, dry_run=dry_run)
        self.enforcer = self._make_enforcer(nftables)
        self.lost_peers = self._make_lost_peers()
        is_hub = context.config.role is Role.HUB
        self.orphan_sas = OrphanSas(charon, peers, denials, bindings, uptime) if is_hub else None
        self.registrations = Registrations(charon, self.hub_sas, self.orphan_sas, self.terminator, uptime)
        self.teardown = self._make_teardown_watch(neighbors)
        self._subscribe()

    def _make_stale_sas(self, writer: HistoryWriter) -> StaleSas:
        peers, context = self._admission.peers, self._context
        return StaleSas(
            self._charon,
            RecordedXfrm(writer),
            lambda: {member.request.nbma_address for member in peers.memberships()},
            context.telemetry,
            context.clocks,
            dry_run=context.dry_run,
        )

    def _make_sa_requests(self, writer: HistoryWriter) -> SaRequests:
        config, telemetry = self._context.config, self._context.telemetry
        sockets = (config.bridge.listen, config.ike.vici_socket)
        reconnector = RecordedReconnector(writer, sockets, config.tunnels, telemetry)
        return SaRequests(self._charon, reconnector, self.stale_sas, telemetry)

    def _make_enforcer(self, nftables: Nftables) -> Enforcer:
        context, peers, denials = self._context, self._admission.peers, self._admission.denials
        gate = nftables if context.config.table.keeps_table and not context.dry_run else None
        uptime = context.clocks.uptime
        guard = NatGuard(self._charon, self.terminator, peers, denials, context.telemetry, uptime, gate)
        ends_denied = context.config.ike.ends_denied
        return Enforcer(
            self._charon, self.terminator, self.reconnections, guard, peers, denials, ends_denied=ends_denied
        )

    def _make_hub_sas(self, writer: HistoryWriter) -> HubSas:
        context = self._context
        terminals, dry_run = context.terminals, context.dry_run
        hubs = FrrHubs(
            terminals.reader,
            context.config.interfaces,
            context.kernel_watch,
            context.telemetry,
            # On a spoke nobody registers: a binding of this type answers a request for a shortcut.
            self._admission.peers.has_registered if context.config.role is Role.HUB else lambda *_: False,
        )
        names = RecordedHubNames(writer, terminals.reader, terminals.writer, context.telemetry, dry_run=dry_run)
        return HubSas(
            self._charon,
            self.sa_requests,
            self._admission.denials,
            hubs,
            names,
            context.clocks.uptime,
            dry_run=dry_run,
        )

    def _make_lost_peers(self) -> LostPeers:
        types = {BindingType.DYNAMIC} if self._context.config.role is Role.HUB else set[BindingType]()
        return LostPeers(self._charon, self._admission.peers, self.reconnections, self.stale_sas, types)

    def _make_teardown_watch(self, neighbors: Callable[[], frozenset[Address] | None]) -> TeardownWatch:
        return TeardownWatch(
            self._admission.peers,
            self._charon,
            bound=self._bound_addresses,
            neighbors=neighbors,
            telemetry=self._context.telemetry,
            clock=self._context.clocks.uptime,
        )

    def _bound_addresses(self) -> frozenset[Address] | None:
        bindings = self._admission.bindings
        return None if bindings.last_read is None else bindings.bound

    def _subscribe(self) -> None:
        context = self._context
        context.peer_revoked.add(self.teardown.add)
        context.tunnel_moved.add(self.hub_sas.hurry)
        context.nhrpd_connected.add(self.hub_sas.expect)
        context.kernel_watch.subscribe(self._paths_changed, LinkEvent, AddressEvent, RouteEvent)

    def _paths_changed(self, event: KernelEvent) -> None:
        interfaces = self._context.config.interfaces
        if may_change_paths(event, interfaces):
            self.hub_sas.hurry()
        if self.orphan_sas and brings_back(event, interfaces):
            self.orphan_sas.link_back()

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these."""
        return [
            Part("enforcer", self.enforcer.run),
            Part("departures", self.teardown.run),
            Part("reconnections", self.reconnections.run),
            Part("lost_peers", self.lost_peers.run),
            Part("registrations", self.registrations.run),
        ]

    def reload(self, config: Config) -> None:
        """Apply a changed configuration."""
        self.enforcer.reload(ends_denied=config.ike.ends_denied)
