"""The agent's composition root: the only file that knows all components.

``AgentApp`` reads from top to bottom: what is made, what is wired, what runs. Constructors neither open nor start
anything.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from dmvpn_agent import __version__
from dmvpn_agent.addresses import Address
from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.admission.decider import Decider
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.event_socket import NhrpdSocket
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.admission.gauges import observe_peers
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.admission.reauthorizer import Reauthorizer
from dmvpn_agent.admission.recorder import Recorder
from dmvpn_agent.admission.sa_lookup import SaLookup
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.gauges import observe_reconciler
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.bridge.certificate_table import BridgeCertificates
from dmvpn_agent.charon.reconnect import ViciReconnector
from dmvpn_agent.charon.sa_gauges import observe_sas
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.config.file import Config
from dmvpn_agent.config.reload import AGENT, reloaded, restart_needed
from dmvpn_agent.enforcement.enforcer import Enforcer
from dmvpn_agent.enforcement.nat_guard import NatGuard
from dmvpn_agent.enforcement.orphan_sas import OrphanSaWatch
from dmvpn_agent.enforcement.reconnections import Reconnections
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.teardown_watch import TeardownWatch
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.kernel import metrics as kernel_metrics
from dmvpn_agent.kernel.gauges import observe_redirect
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.kernel.nftables import Nftables, NftablesNotifications
from dmvpn_agent.kernel.redirect import RedirectKeeper
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.control_socket import ControlSocket
from dmvpn_agent.runtime.process import Process
from dmvpn_agent.runtime.supervisor import Part, Supervisor
from dmvpn_agent.runtime.telemetry import Samples
from dmvpn_agent.view.status import (
    access_status,
    charon_status,
    decisions_status,
    frr_status,
    peers_status,
    redirect_status,
    trust_status,
)
from dmvpn_agent.x509.certificate import Role
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_watch import TrustWatch

log = structlog.get_logger()


class AgentApp:
    """One agent process.

    ``record``: the file in which events are recorded. ``dry_run``: the agent answers nhrpd, changes nothing in FRR,
    nftables and charon, and logs what it would change.
    """

    def __init__(
        self,
        config: Config,
        record: Path | None = None,
        *,
        dry_run: bool = False,
        clocks: Clocks = Clocks(),  # noqa: B008  frozen
    ) -> None:
        self._config = config
        self._dry_run = dry_run
        self._clocks = clocks
        self.process = Process(
            "agent", config.state_directory / "agent.sqlite", PeerTable.TABLE, config.metrics, ("admission",), clocks
        )
        telemetry = self.telemetry = self.process.telemetry
        self.peers = Peers(PeerTable(self.process.store))
        self.terminals = Terminals(config.frr)
        self.nftables = Nftables()
        self.charon = self._make_charon()
        self.recorder = Recorder(record) if record else None
        self.denials = DenialTable()
        self.decider = self._make_decider()
        self.authorizer = self._make_authorizer()
        self.reauthorizer = self._make_reauthorizer()
        self.kept_trust, self.signatures = KeptTrust(config.trust_files.kept), SignerCache()
        self.trust = TrustWatch(self._trust_files(), telemetry, self._crl_loader(), self.reauthorizer.use_trust)
        self.bindings = self._make_bindings()
        self.kernel = KernelWatch(config.interfaces, telemetry, self.bindings.trigger)
        self.events = self._make_event_socket()
        self.reconciler = self._make_reconciler()
        self.redirect = self._make_redirect()
        self.terminator = SaTerminator(self.charon, telemetry, clocks.uptime, dry_run=dry_run)
        self.enforcer = self._make_enforcer()
        self.orphan_sas = self._make_orphan_watch()
        self.teardown = self._make_teardown_watch()
        self.control = ControlSocket(config.control_socket, self.status, telemetry)
        self._observe()
        self.supervisor = Supervisor(self._parts(), self.process.failures)

    # What is made

    def _make_charon(self) -> CharonWatch:
        config, telemetry = self._config, self.telemetry
        return CharonWatch(
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
            self.recorder.record if self.recorder else lambda *_: None,
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

    def _trust_files(self) -> TrustFilesReader:
        return TrustFilesReader(self._config.trust_files, self.kept_trust, self.signatures)

    def _crl_loader(self) -> Callable[[tuple[bytes, ...]], Awaitable[None]]:
        if not self._config.ike.loads_crls:
            return _leave_crls_to_operator
        return _would_load_crls if self._dry_run else self.charon.load_crls

    def _make_bindings(self) -> BindingWatch:
        return BindingWatch(
            self._config.frr,
            FrrNhrpd(self.terminals.reader, self._config.interfaces),
            self.peers,
            self.telemetry,
            self._clocks.uptime,
            departed=self._peers_changed,
            judge_unknown=self.authorizer.judge_unknown,
        )

    def _make_event_socket(self) -> NhrpdSocket:
        events = NhrpdSocket(self._config.event_socket, self.authorizer, self.telemetry)
        events.opened = self.bindings.trigger
        return events

    def _make_reconciler(self) -> Reconciler | None:
        config, telemetry, terminals = self._config, self.telemetry, self.terminals
        if config.bgp is None:
            return None
        bgpd = FrrBgpd(terminals.reader, terminals.writer, config.bgp.as_number, telemetry)
        return Reconciler(config.frr, config.bgp, self.peers, bgpd, telemetry, self._clocks, dry_run=self._dry_run)

    def _make_redirect(self) -> RedirectKeeper | None:
        if self._config.redirect is None:
            return None
        return RedirectKeeper(self._config.redirect, self.nftables, self.telemetry, dry_run=self._dry_run)

    def _make_enforcer(self) -> Enforcer:
        config, telemetry, uptime = self._config, self.telemetry, self._clocks.uptime
        # The agent's table exists only if the agent keeps the redirect rule in it.
        gate = self.nftables if config.redirect and not self._dry_run else None
        guard = NatGuard(self.charon, self.terminator, self.peers, self.denials, telemetry, uptime, gate)
        reconnector = ViciReconnector((config.bridge.listen, config.ike.vici_socket), config.tunnels, telemetry)
        reconnections = Reconnections(self.charon, reconnector, telemetry, uptime, dry_run=self._dry_run)
        ends_denied = config.ike.ends_denied
        return Enforcer(
            self.charon, self.terminator, reconnections, guard, self.peers, self.denials, ends_denied=ends_denied
        )

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

    # What is wired: the methods that one component calls and that reach components made after it

    def _sas_changed(self) -> None:
        self.reauthorizer.sas_changed()
        self.denials.changed.set()  # a new peer may share the NBMA address of an accepted one

    async def _authorities_received(self, certificates: list[bytes]) -> None:
        await self.trust.learn(certificates)

    def _peers_changed(self) -> None:
        if self.reconciler:
            self.reconciler.trigger()

    def _peer_revoked(self, revoked: Revoked) -> None:
        self.teardown.add(revoked)

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
        telemetry.observe(admission_metrics.DENIED_PEERS, lambda: len(self.denials))
        observe_peers(telemetry, self.peers)
        observe_sas(telemetry, self.charon)
        if self.reconciler:
            observe_reconciler(telemetry, self.reconciler)
        if self.redirect:
            observe_redirect(telemetry, self.redirect)

    def _tunnels_up(self) -> Samples:
        return {(name,): float(up is True) for name, up in self.kernel.up.items()}

    # What runs

    def _parts(self) -> list[Part]:
        """Return everything but the event socket: a part that fails is started again."""
        parts = [
            Part("control", start=self.control.start, stop=self.control.stop),
            *self.process.parts,
            Part("kernel", self.kernel.run),
            Part("charon", self.charon.run),
            Part("bindings", self.bindings.run),
            Part("trust", self.trust.run),
            Part("authorizer", self.reauthorizer.run),
            Part("enforcer", self.enforcer.run),
            Part("departures", self.teardown.run),
        ]
        if self._config.role is Role.HUB:
            parts.append(Part("unbound", self.orphan_sas.run))
        if recorder := self.recorder:
            parts.insert(0, Part("recorder", start=recorder.start, stop=recorder.stop))
        if self.reconciler:
            parts.append(Part("reconciler", self.reconciler.run))
        if self.redirect:
            notifications = NftablesNotifications(self.redirect.trigger)
            parts += [Part("redirect", self.redirect.run), Part("nftables", notifications.run)]
        return parts

    async def start(self) -> None:
        """Open the sockets and load the stored peers.

        Raises ``OSError`` or ``SocketInUse``, with the path, if the agent cannot answer nhrpd. Any other failure is
        retried later.
        """
        log.info("agent_starting", version=__version__, role=str(self._config.role), dry_run=self._dry_run)
        self.process.start()
        self.decider.deny_until_trust()
        with self.process.failures.contained("trust"):
            self.trust.start()
            self.reauthorizer.use_trust(self.trust.trust)
        await self.events.start()
        await self.supervisor.start()
        log.info(
            "agent_ready",
            event_socket=str(self._config.event_socket),
            peers=len(self.peers),
            bgp=self.reconciler is not None,
            redirect=self.redirect is not None,
        )

    async def run(self) -> None:
        """Run the parts until cancelled."""
        await self.supervisor.run()

    async def stop(self) -> None:
        """Close everything. Bindings, BGP neighbors and the redirect rule stay for the next start."""
        with self.process.failures.contained("admission"):
            await self.events.stop()
        await self.supervisor.stop()
        self.process.stop()
        log.info("agent_stopped")

    async def upgrade(self) -> None:
        """Log that only the bridge can be replaced while it runs."""
        log.warning("no_upgrade", why="the agent is not upgraded while it runs", do="restart it")

    def reload(self, wanted: Config) -> None:
        """Apply a changed configuration, as far as the agent can without a restart; log the keys that need one."""
        former, self._config = self._config, reloaded(self._config, wanted)
        config = self._config
        if keys := restart_needed(AGENT, former, wanted):
            log.warning("restart_needed", keys=keys, why="the agent reads these keys at start only")
        self.bindings.reload(config.frr)
        if self.reconciler and config.bgp:
            self.reconciler.reload(config.frr, config.bgp)
        if self.redirect and config.redirect:
            self.redirect.reload(config.redirect)
        if config.trust_files != former.trust_files or self.trust.is_reloading:
            self.trust.reload(self._trust_files(), lambda trust: self._judge_by(config.policy, trust))
        else:
            self.reauthorizer.use_policy(config.policy)
        self.enforcer.reload(ends_denied=config.ike.ends_denied)
        self.process.count_reload("applied")
        log.info("config_reloaded")

    def _judge_by(self, policy: Policy, trust: Trust) -> None:
        self.reauthorizer.use_policy(policy)
        self.reauthorizer.use_trust(trust)

    def status(self) -> dict[str, Any]:
        """Return the whole state, as ``dmvpn-agent status`` shows it."""
        return {
            "version": __version__,
            "dry_run": self._dry_run,
            "role": str(self._config.role),
            "started": self.process.started.isoformat(timespec="seconds"),
            "tunnel_interfaces": [
                {"name": name, "profile": profile, "up": self.kernel.up[name]}
                for name, profile in self._config.tunnels.items()
            ],
            "nhrpd": {"connected": self.events.open_connections > 0, "trouble": self.bindings.trouble},
            "charon": charon_status(self.charon),
            "trust": trust_status(self.trust, self.denials),
            "peers": peers_status(self.peers, self.reconciler, self._clocks),
            "decisions": decisions_status(self.authorizer),
            "frr": frr_status(self.reconciler),
            "frr_access": access_status(self.terminals.reader.used, self.terminals.writer.name, self.reconciler),
            "redirect": redirect_status(self.redirect),
        }


async def _leave_crls_to_operator(_: tuple[bytes, ...]) -> None:
    pass


async def _would_load_crls(crls: tuple[bytes, ...]) -> None:
    log.info("would_load_crls", crls=len(crls))
