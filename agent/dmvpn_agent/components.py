"""The agent's composition root: the only file that makes its components and connects them.

``Components`` reads from top to bottom: what is made, how, and what is wired. ``AgentApp`` runs it. A constructor
neither opens nor starts anything.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.admission.decider import Decider
from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.event_socket import NhrpdSocket
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.admission.gauges import observe_nhrpd, observe_peers
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.admission.reauthorizer import Reauthorizer
from dmvpn_agent.admission.recorder import Recorder
from dmvpn_agent.admission.sa_lookup import SaLookup
from dmvpn_agent.bgp import metrics as bgp_metrics
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.gauges import observe_reconciler
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.bridge.certificate_table import BridgeCertificates
from dmvpn_agent.charon import metrics as charon_metrics
from dmvpn_agent.charon.sa_gauges import observe_sas
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.config.file import Config
from dmvpn_agent.control.quarantines import Quarantines
from dmvpn_agent.enforcement import metrics as enforcement_metrics
from dmvpn_agent.enforcement.enforcer import Enforcer
from dmvpn_agent.enforcement.frr_hubs import FrrHubs
from dmvpn_agent.enforcement.hub_names import HubNames
from dmvpn_agent.enforcement.hub_sas import HubSas
from dmvpn_agent.enforcement.lost_peers import LostPeers
from dmvpn_agent.enforcement.nat_guard import NatGuard
from dmvpn_agent.enforcement.orphan_sas import OrphanSaWatch
from dmvpn_agent.enforcement.reconnections import Reconnections
from dmvpn_agent.enforcement.sa_requests import SaRequests
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.stale_sas import StaleSas
from dmvpn_agent.enforcement.teardown_watch import TeardownWatch
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.kernel import metrics as kernel_metrics
from dmvpn_agent.kernel.events import (
    AddressEvent,
    KernelEvent,
    LinkEvent,
    NeighbourEvent,
    RouteEvent,
    brings_back,
    may_change_bindings,
    may_change_paths,
)
from dmvpn_agent.kernel.links.kernel_links import KernelLinks
from dmvpn_agent.kernel.links.reconciler import LinkReconciler
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.kernel.nftables.gauges import observe_table
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.source_filter import senders
from dmvpn_agent.kernel.routes.netlink_entries import NetlinkEntries
from dmvpn_agent.kernel.routes.netlink_tables import NetlinkTables
from dmvpn_agent.kernel.routes.reconciler import RouteReconciler
from dmvpn_agent.kernel.routes.stale_entries import StaleEntries
from dmvpn_agent.kernel.uplink.interfaces import Interfaces
from dmvpn_agent.kernel.uplink.keeper import UplinkKeeper
from dmvpn_agent.kernel.xfrm_socket import XfrmSocket
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.request import BindingType
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.process import Process
from dmvpn_agent.runtime.sqlite_file import K, Table, V
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Samples
from dmvpn_agent.runtime.unreadable import Unreadable
from dmvpn_agent.view import metrics as view_metrics
from dmvpn_agent.view.history import TABLE as HISTORY_TABLE
from dmvpn_agent.view.history import History
from dmvpn_agent.view.known_peers import KnownPeers
from dmvpn_agent.view.peer_series import PeerSeries
from dmvpn_agent.view.peer_sources import PeerSources
from dmvpn_agent.view.peer_watch import PeerWatch
from dmvpn_agent.view.recorded import (
    HistoryWriter,
    RecordedBgpd,
    RecordedCharon,
    RecordedNftables,
    RecordedReconnector,
)
from dmvpn_agent.x509 import metrics as x509_metrics
from dmvpn_agent.x509.certificate import Role
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_watch import TrustWatch

log = structlog.get_logger()


class Components:
    """The components of one agent. They stay the same for the life of the process.

    ``record``: the file in which events are recorded. ``dry_run``: the agent changes nothing in FRR, nftables and
    charon.
    """

    def __init__(self, config: Config, record: Path | None, clocks: Clocks, *, dry_run: bool) -> None:
        self._config = config
        self._dry_run = dry_run
        self._clocks = clocks
        self.process = Process(
            "agent", config.state_directory / "agent.sqlite", PeerTable.TABLE, config.metrics, ("admission",), clocks,
            config.metrics_access,
        )  # fmt: skip
        telemetry = self.telemetry = self.process.telemetry
        telemetry.expect(admission_metrics, charon_metrics, enforcement_metrics, kernel_metrics, x509_metrics)
        self.peers = Peers(PeerTable(self.process.store))
        self.terminals = Terminals(config.frr)
        self.history = History(self._store("history", HISTORY_TABLE), clocks.now)
        self.writer = HistoryWriter(self.history, self._name_at)
        self.nftables = RecordedNftables(self.writer)
        self.charon = self._make_charon()
        self.recorder = Recorder(record) if record else None
        self.denials = DenialTable()
        self.decider = self._make_decider()
        self.authorizer = self._make_authorizer()
        self.reauthorizer = self._make_reauthorizer()
        self.kept_trust, self.signatures = KeptTrust(config.trust_files.kept), SignerCache()
        reader = self.trust_reader(config.trust_files)
        self.trust = TrustWatch(reader, telemetry, self._crl_loader(), self.reauthorizer.use_trust)
        self.nhrpd = FrrNhrpd(self.terminals.reader, config.interfaces)
        self.bindings = self._make_bindings()
        self.kernel = KernelWatch(config.interfaces, telemetry)
        self.links = LinkReconciler(config.links, KernelLinks(), telemetry, clocks, dry_run=dry_run)
        self.events = self._make_event_socket()
        self.reconciler = self._make_reconciler()
        self.table = TableReconciler(config.table, self._senders, self.nftables, telemetry, dry_run=dry_run)
        self.terminator = SaTerminator(self.charon, telemetry, clocks.uptime, dry_run=dry_run)
        self.stale_sas = self._make_stale_sas()
        self.sa_requests = self._make_sa_requests()
        self.reconnections = Reconnections(
            self.charon, self.sa_requests, self.denials, clocks.uptime, dry_run=dry_run
        )  # fmt: skip
        self.enforcer = self._make_enforcer()
        self.hub_sas = self._make_hub_sas()
        self.lost_peers = self._make_lost_peers()
        self.uplinks = self._make_uplinks()
        self.routes = self._make_routes()
        self.stale_entries = StaleEntries(
            NetlinkEntries(config.interfaces), self.bindings, telemetry, clocks.uptime, dry_run=dry_run
        )
        self.orphan_sas = self._make_orphan_watch()
        self.teardown = self._make_teardown_watch()
        self.known_peers = KnownPeers(self._store("known_peers", KnownPeers.TABLE))
        self.quarantines = Quarantines(self._store("quarantined", Quarantines.TABLE))
        self.peer_watch = PeerWatch(self._make_peer_sources(), self.known_peers, config.peers, self.writer.moved)
        self.peer_series = PeerSeries(lambda: self.peer_watch.current)
        self._observe()
        self._subscribe()

    # How it is made

    def _make_charon(self) -> CharonWatch:
        config, telemetry = self._config, self.telemetry
        return RecordedCharon(
            self.writer,
            ViciCharon(config.ike.vici_socket, telemetry),
            config.tunnels,
            telemetry,
            self._clocks,
            certificates=BridgeCertificates(config.state_directory / "bridge.sqlite", telemetry),
            changed=self._sas_changed,
            learn_authorities=self._authorities_received,
        )

    def _make_decider(self) -> Decider:
        sas, failures = SaLookup(self.charon), self.process.failures
        return Decider(self._config.policy, self.peers, self._clocks, sas, failures, self._own_addresses)

    def _make_authorizer(self) -> Authorizer:
        return Authorizer(
            self.decider,
            self.peers,
            self.denials,
            self.telemetry,
            self._clocks,
            self.process.failures,
            self._peers_changed,
            self._decided,
        )

    def _make_reauthorizer(self) -> Reauthorizer:
        return Reauthorizer(
            self.decider,
            self.peers,
            self.denials,
            self.telemetry,
            self._clocks,
            self.process.failures,
            self._peers_changed,
            self._peer_revoked,
        )

    def trust_reader(self, files: TrustFiles) -> TrustFilesReader:
        """Return a reader of CA certificates and CRLs; the readers share what they keep."""
        return TrustFilesReader(files, self.kept_trust, self.signatures)

    def _crl_loader(self) -> Callable[[tuple[bytes, ...]], Awaitable[None]]:
        if not self._config.ike.loads_crls:
            return _leave_crls_to_operator
        return _would_load_crls if self._dry_run else self.charon.load_crls

    def _make_bindings(self) -> BindingWatch:
        return BindingWatch(
            self._config.frr,
            self.nhrpd,
            self.peers,
            self.telemetry,
            self._clocks.uptime,
            departed=self._peers_changed,
            judge_unknown=self.authorizer.judge_unknown,
        )

    def _make_event_socket(self) -> NhrpdSocket:
        trigger = self.bindings.trigger
        return NhrpdSocket(self._config.event_socket, self.authorizer, self.telemetry, opened=trigger)

    def _make_reconciler(self) -> Reconciler | None:
        config, telemetry, terminals = self._config, self.telemetry, self.terminals
        if config.bgp is None:
            return None
        bgpd = RecordedBgpd(FrrBgpd(terminals.reader, terminals.writer, config.bgp.instance, telemetry), self.writer)
        return Reconciler(config.frr, config.bgp, self.peers, bgpd, telemetry, self._clocks, dry_run=self._dry_run)

    def _make_enforcer(self) -> Enforcer:
        config, telemetry, uptime = self._config, self.telemetry, self._clocks.uptime
        gate = self.nftables if config.table.keeps_table and not self._dry_run else None
        guard = NatGuard(self.charon, self.terminator, self.peers, self.denials, telemetry, uptime, gate)
        ends_denied = config.ike.ends_denied
        return Enforcer(
            self.charon, self.terminator, self.reconnections, guard, self.peers, self.denials, ends_denied=ends_denied
        )

    def _make_stale_sas(self) -> StaleSas:
        peers = self.peers
        return StaleSas(
            self.charon,
            XfrmSocket(),
            lambda: {member.request.nbma_address for member in peers.memberships()},
            self.telemetry,
            self._clocks,
            dry_run=self._dry_run,
        )

    def _make_sa_requests(self) -> SaRequests:
        config, telemetry = self._config, self.telemetry
        sockets = (config.bridge.listen, config.ike.vici_socket)
        reconnector = RecordedReconnector(self.writer, sockets, config.tunnels, telemetry)
        return SaRequests(self.charon, reconnector, self.stale_sas, telemetry)

    def _make_hub_sas(self) -> HubSas | None:
        # Two hubs that register with each other would each end what the other one has just set up.
        if self._config.role is Role.HUB:
            return None
        terminals, uptime, dry_run = self.terminals, self._clocks.uptime, self._dry_run
        hubs = FrrHubs(terminals.reader, self._config.interfaces, self.kernel, self.telemetry)
        names = HubNames(terminals.reader, terminals.writer, self.telemetry, dry_run=dry_run)
        return HubSas(
            self.charon, self.sa_requests, self.terminator, self.denials, hubs, names, uptime, dry_run=dry_run
        )  # fmt: skip

    def _make_lost_peers(self) -> LostPeers:
        types = {BindingType.DYNAMIC} if self._config.role is Role.HUB else set[BindingType]()
        return LostPeers(self.charon, self.peers, self.reconnections, self.stale_sas, types)

    def _make_uplinks(self) -> UplinkKeeper | None:
        if self._config.uplink is None:
            return None
        interfaces, dry_run = Interfaces(self.kernel), self._dry_run
        return UplinkKeeper(self._config.uplink, interfaces, self.telemetry, self._tunnel_moved, dry_run=dry_run)

    def _make_routes(self) -> RouteReconciler | None:
        if self.uplinks is None:
            return None
        return RouteReconciler(self.uplinks.tables, NetlinkTables(), self.telemetry, dry_run=self._dry_run)

    def _make_orphan_watch(self) -> OrphanSaWatch:
        uptime = self._clocks.uptime
        return OrphanSaWatch(self.charon, self.terminator, self.peers, self.denials, self.bindings, uptime)

    def _make_teardown_watch(self) -> TeardownWatch:
        return TeardownWatch(
            self.peers,
            self.charon,
            bound=self._bound_addresses,
            neighbors=self._neighbor_addresses,
            telemetry=self.telemetry,
            clock=self._clocks.uptime,
        )

    def _store(self, name: str, table: Table[K, V]) -> Store[K, V]:
        return Store(self._config.state_directory / f"{name}.sqlite", table, Unreadable(self.telemetry))

    def _make_peer_sources(self) -> PeerSources:
        return PeerSources(
            self.peers,
            self.denials,
            self.charon,
            self.bindings,
            self.reconciler,
            self._clocks,
            self._config.tunnels,
        )

    # What is wired: the methods that one component calls and that reach components made after it

    def _sas_changed(self) -> None:
        self.reauthorizer.sas_changed()
        self.denials.changed.set()  # a new peer may share the NBMA address of an accepted one
        self.peer_watch.trigger()

    def _name_at(self, address: str) -> str:
        return self.peer_watch.name_at(address)

    def _decided(self, message: bytes, decided: DecisionRecord) -> None:
        self.writer.decided(decided)
        if self.recorder:
            self.recorder.record(message, decided)

    async def _authorities_received(self, certificates: list[bytes]) -> None:
        await self.trust.learn(certificates)

    def _subscribe(self) -> None:
        """Wire the kernel's notifications."""
        self.kernel.subscribe(self._bindings_changed, LinkEvent, RouteEvent, NeighbourEvent)
        self.kernel.subscribe(self.links.kernel_changed, LinkEvent, AddressEvent)
        self.kernel.subscribe(self._paths_changed, LinkEvent, AddressEvent, RouteEvent)

    def _bindings_changed(self, event: KernelEvent) -> None:
        if may_change_bindings(event, self._config.interfaces):
            self.bindings.trigger()

    def _tunnel_moved(self) -> None:
        if self.hub_sas:
            self.hub_sas.hurry()

    def _paths_changed(self, event: KernelEvent) -> None:
        if self.uplinks:
            self.uplinks.trigger()
        if self.routes:
            self.routes.trigger()
        if self.hub_sas and may_change_paths(event, self._config.interfaces):
            self.hub_sas.hurry()
        if brings_back(event, self._config.interfaces):
            self.orphan_sas.link_back()

    def _peers_changed(self) -> None:
        self.peer_watch.trigger()
        if self.reconciler:
            self.reconciler.trigger()
        self.table.trigger()

    def _peer_revoked(self, revoked: Revoked) -> None:
        self.teardown.add(revoked)

    def _senders(self) -> tuple[Peer, ...]:
        return senders(self.peers, self.peers.absent(self._clocks.uptime()))

    def _own_addresses(self) -> frozenset[Address]:
        return self.kernel.addresses

    def _bound_addresses(self) -> frozenset[Address] | None:
        return None if self.bindings.last_read is None else self.bindings.bound

    def _neighbor_addresses(self) -> frozenset[Address] | None:
        return self.reconciler.neighbors() if self.reconciler else frozenset()

    def _observe(self) -> None:
        telemetry = self.telemetry
        telemetry.observe(admission_metrics.EVENT_CONNECTIONS_OPEN, lambda: self.events.open_connections)
        telemetry.observe(kernel_metrics.TUNNEL_UP, self._tunnels_up)
        telemetry.observe(kernel_metrics.TUNNEL_IN_SYNC, self.links.in_sync)
        telemetry.observe(admission_metrics.DENIED_PEERS, lambda: len(self.denials))
        observe_peers(telemetry, self.peers)
        observe_nhrpd(telemetry, self.nhrpd)
        self.peer_series.observe(telemetry)
        telemetry.observe(view_metrics.CERTIFICATE_NOT_AFTER, self._certificates)
        observe_sas(telemetry, self.charon)
        if self.reconciler:
            telemetry.expect(bgp_metrics)
            observe_reconciler(telemetry, self.reconciler)
        observe_table(telemetry, self.table, self.peer_series.name_of)
        self._observe_readiness()

    def _observe_readiness(self) -> None:
        add, missing = self.process.readiness.add, "not connected"
        add("nhrpd", lambda: "" if self.events.open_connections else f"{missing} to the event socket")
        add("nhrpd's cache", lambda: self.bindings.trouble or "")
        add("charon", lambda: "" if self.charon.connected else f"{missing} to the agent")
        add("trust", lambda: "not read yet: every peer is denied" if self.decider.waits_for_trust else "")
        add("tunnel", lambda: ", ".join(f"{name} is down" for name, up in self.kernel.up.items() if up is not True))
        if reconciler := self.reconciler:
            add("bgpd", lambda: reconciler.trouble or "")
        if self._config.redirect:
            add(
                "nftables", lambda: "" if self.table.installed else "the table with the redirect rule is not in place"
            )

    def _certificates(self) -> Samples:
        samples = dict(self.peer_series.read()[view_metrics.CERTIFICATE_NOT_AFTER])
        for kind, found in ("own", self.charon.own_certificates), ("ca", self.trust.trust.authorities):
            for one in found:
                key = (kind, "", one.subject)
                samples[key] = max(samples.get(key, 0), one.not_after.timestamp())
        return samples

    def _tunnels_up(self) -> Samples:
        return {(name,): float(up is True) for name, up in self.kernel.up.items()}


async def _leave_crls_to_operator(_: tuple[bytes, ...]) -> None:
    pass


async def _would_load_crls(crls: tuple[bytes, ...]) -> None:
    log.info("would_load_crls", crls=len(crls))
