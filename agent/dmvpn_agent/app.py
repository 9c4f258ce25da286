"""The agent put together: the only place that knows all its parts. Constructors do nothing; ``start`` does."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from dmvpn_agent import __version__
from dmvpn_agent.admission import metrics as admission_metrics
from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.admission.event_socket import NhrpdSocket
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.admission.gauges import observe_peers
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.admission.recorder import Recorder
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.gauges import observe_reconciler
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.bridge.certificate_table import BridgeCertificates
from dmvpn_agent.charon.reconnect import ViciReconnector
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.config.file import Config
from dmvpn_agent.config.reload import reloaded
from dmvpn_agent.enforcement.enforcer import Enforcer
from dmvpn_agent.enforcement.nat_guard import NatGuard
from dmvpn_agent.enforcement.orphan_sas import OrphanSaWatch
from dmvpn_agent.enforcement.sa_terminator import SaTerminator
from dmvpn_agent.enforcement.teardown_watch import TeardownWatch
from dmvpn_agent.frr.terminals import Terminals
from dmvpn_agent.kernel import metrics as kernel_metrics
from dmvpn_agent.kernel.gauges import observe_redirect
from dmvpn_agent.kernel.netlink import KernelWatch
from dmvpn_agent.kernel.nftables import Nftables, NftablesNotifications
from dmvpn_agent.kernel.redirect import RedirectKeeper
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.control_socket import ControlSocket
from dmvpn_agent.runtime.exposition import Exposition
from dmvpn_agent.runtime.loop_lag import LoopLag
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.supervisor import Failures, Part, Supervisor
from dmvpn_agent.runtime.telemetry import Samples, Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
from dmvpn_agent.runtime.write_behind import WriteBehind
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
from dmvpn_agent.x509.trust import Trust
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_store import SignerCache
from dmvpn_agent.x509.trust_watch import TrustWatch

log = structlog.get_logger()


#: Seconds between two looks whether who was thrown out is gone, and who is here is bound.
PEER_LOOK_INTERVAL = 1.0


async def _keep_crls(_: tuple[bytes, ...]) -> None:
    """Give charon no CRLs: the operator does."""


async def _would_load_crls(crls: tuple[bytes, ...]) -> None:
    """Give charon no CRLs in a dry run."""
    log.info("would_load_crls", crls=len(crls))


class AgentApp:
    """One agent process.

    ``record``: the file that events are recorded in. ``dry_run``: nhrpd is answered, but nothing is changed in FRR,
    nftables and charon; the log says what would be.
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
        self._started = clocks.now()
        self._telemetry = telemetry = Telemetry()
        self._failures = Failures(telemetry, "admission", "store")
        self._loop_lag = LoopLag(telemetry)
        self._store = WriteBehind(Store(config.state_directory / "agent.sqlite"))
        self._peers = Peers(PeerTable(self._store, Unreadable(telemetry)))
        ike = config.ike
        self._charon = CharonWatch(
            ViciCharon(ike.vici_socket, telemetry),
            config.tunnels,
            telemetry,
            clocks,
            certificates=BridgeCertificates(config.state_directory / "bridge.sqlite", telemetry),
        )
        self._authorizer = Authorizer(
            config.policy, self._peers, telemetry, clocks, self._changed, self._charon, self._revoked, self._failures,
            own=lambda: self._kernel.addresses,
        )  # fmt: skip
        self._charon.changed = self._sas_changed
        self._kept, self._signatures = KeptTrust(config.trust_files.kept), SignerCache()
        self._trust = TrustWatch(
            self._trust_reader(config),
            telemetry,
            (_would_load_crls if dry_run else self._charon.load_crls) if ike.loads_crls else _keep_crls,
            self._authorizer.trust,
        )
        self._charon.learn = self._trust.learn
        self._recorder = Recorder(record) if record else None
        self._events = NhrpdSocket(
            config.event_socket,
            self._authorizer,
            telemetry,
            self._recorder.record if self._recorder else lambda *_: None,
        )
        self._control = ControlSocket(config.control_socket, self.status, telemetry)
        self._metrics = Exposition(config.metrics, telemetry) if config.metrics else None
        self._terminals = Terminals(config.frr)
        nhrpd = FrrNhrpd(self._terminals.reader, config.interfaces)
        self._bindings = BindingWatch(
            config.frr, nhrpd, self._peers, telemetry, clocks.uptime, self._changed, self._authorizer.judge_unknown
        )
        self._events.opened = self._bindings.trigger
        self._kernel = KernelWatch(config.interfaces, telemetry, self._bindings.trigger)
        self._reconciler: Reconciler | None = None
        if bgp := config.bgp:
            bgpd = FrrBgpd(self._terminals.reader, self._terminals.writer, bgp.as_number, telemetry)
            self._reconciler = Reconciler(config.frr, bgp, self._peers, bgpd, telemetry, clocks, dry_run=dry_run)
        self._nftables = Nftables()
        self._redirect: RedirectKeeper | None = None
        self._notifications: NftablesNotifications | None = None
        if config.redirect:
            self._redirect = RedirectKeeper(config.redirect, self._nftables, telemetry, dry_run=dry_run)
            self._notifications = NftablesNotifications(self._redirect.trigger)
        self._enforce(config)
        self._observe()
        self.supervisor = Supervisor(self._parts(), self._failures)
        telemetry.read_failed = lambda metric, error: self._failures.note("metrics", error, metric=metric.name)

    def _trust_reader(self, config: Config) -> TrustFilesReader:
        return TrustFilesReader(config.trust_files, self._kept, self._signatures)

    def _enforce(self, config: Config) -> None:
        """Put together what acts on those who are in already."""
        telemetry, denied, uptime = self._telemetry, self._authorizer.denials, self._clocks.uptime
        terminator = SaTerminator(self._charon, telemetry, uptime, dry_run=self._dry_run)
        inviter = ViciReconnector((config.bridge.listen, config.ike.vici_socket), config.tunnels, telemetry)
        # Our table is there only where the redirect rule is kept in it.
        gate = self._nftables if config.redirect and not self._dry_run else None
        guard = NatGuard(self._charon, terminator, self._peers, denied, telemetry, uptime, gate)
        self._enforcer = Enforcer(
            self._charon,
            terminator,
            inviter,
            self._peers,
            denied,
            guard,
            telemetry,
            uptime,
            ends_denied=config.ike.ends_denied,
            dry_run=self._dry_run,
        )
        self._unbound = OrphanSaWatch(self._charon, terminator, self._peers, denied, self._bindings, uptime)
        self._departures = TeardownWatch(
            self._peers,
            self._charon,
            bound=lambda: None if self._bindings.last_read is None else self._bindings.bound,
            neighbors=lambda: self._reconciler.neighbors() if self._reconciler else frozenset(),
            telemetry=telemetry,
            clock=uptime,
        )

    def _observe(self) -> None:
        telemetry = self._telemetry
        telemetry.observe(runtime_metrics.BUILD_INFO, lambda: {(__version__, "agent"): 1})
        telemetry.observe(runtime_metrics.LOG_LINES_DROPPED, logs.dropped)
        telemetry.observe(runtime_metrics.START_TIME, self._started.timestamp)
        telemetry.observe(runtime_metrics.STORE_WRITABLE, lambda: self._store.survives)
        telemetry.observe(admission_metrics.EVENT_CONNECTIONS_OPEN, lambda: self._events.open_connections)
        telemetry.observe(kernel_metrics.TUNNEL_UP, self._tunnels_up)
        telemetry.observe(admission_metrics.DENIED_PEERS, lambda: len(self._authorizer.denials))
        observe_peers(telemetry, self._peers)
        if self._reconciler:
            observe_reconciler(telemetry, self._reconciler)
        if self._redirect:
            observe_redirect(telemetry, self._redirect)

    def _tunnels_up(self) -> Samples:
        return {(name,): float(up is True) for name, up in self._kernel.up.items()}

    def _changed(self) -> None:
        if self._reconciler:
            self._reconciler.trigger()

    def _sas_changed(self) -> None:
        self._authorizer.sas_changed()
        self._authorizer.denials.changed.set()  # who came may be in the way of who is there

    def _revoked(self, revoked: Revoked) -> None:
        self._departures.add(revoked)

    def _parts(self) -> list[Part]:
        """Return everything but admission: what each does may fail, and is then started again."""
        parts = [
            Part("control", start=self._control.start, stop=self._control.stop),
            Part("loop_lag", self._loop_lag.run),
            Part("kernel", self._kernel.run),
            Part("charon", self._charon.run),
            Part("bindings", self._bindings.run),
            Part("trust", self._trust.run),
            Part("authorizer", self._authorizer.run),
            Part("enforcer", self._enforcer.run),
            Part("departures", self._look_for_departures),
        ]
        if self._config.role is Role.HUB:
            parts.append(Part("unbound", self._look_for_unbound))
        if recorder := self._recorder:
            parts.insert(0, Part("recorder", start=recorder.start, stop=recorder.stop))
        if exposition := self._metrics:
            parts.append(Part("metrics", start=exposition.start, stop=exposition.stop))
        if self._reconciler:
            parts.append(Part("reconciler", self._reconciler.run))
        if self._redirect and self._notifications:
            parts += [Part("redirect", self._redirect.run), Part("nftables", self._notifications.run)]
        return parts

    async def start(self) -> None:
        """Open the sockets and take up the peers of before.

        Raises ``OSError`` or ``SocketInUse``, with the path, where nhrpd cannot be answered; whatever else fails is
        tried again later.
        """
        log.info("agent_starting", version=__version__, role=str(self._config.role), dry_run=self._dry_run)
        asyncio.get_running_loop().set_exception_handler(self._failures.callback_failed)
        with self._failures.contained("store"):
            self._store.open()
        self._authorizer.deny_until_trust()
        with self._failures.contained("trust"):
            self._trust.start()
            self._authorizer.trust(self._trust.trust)
        await self._events.start()
        await self.supervisor.start()
        log.info(
            "agent_ready",
            event_socket=str(self._config.event_socket),
            peers=len(self._peers),
            bgp=self._reconciler is not None,
            redirect=self._redirect is not None,
        )

    async def run(self) -> None:
        """Do the work until cancelled."""
        await self.supervisor.run()

    async def _look_for_departures(self) -> None:
        while True:
            await asyncio.sleep(PEER_LOOK_INTERVAL)
            self._departures.check()

    async def _look_for_unbound(self) -> None:
        while True:
            await asyncio.sleep(PEER_LOOK_INTERVAL)
            await self._unbound.check()

    async def stop(self) -> None:
        """Close everything. What works is left: bindings, neighbors and the rule stay for the next start."""
        with self._failures.contained("admission"):
            await self._events.stop()
        await self.supervisor.stop()
        with self._failures.contained("store"):
            self._store.close()
        log.info("agent_stopped")

    def reload(self, wanted: Config) -> None:
        """Put a changed configuration in force, as far as that goes without a restart; say what does not."""
        new = reloaded(self._config, wanted)
        config = new.config
        if new.restart_needed:
            log.warning("restart_needed", why="only policy, log, the times in frr, bgp (not as_number, transport),"
                        " redirect and ike.end_denied are read again, and no part is switched on or off")  # fmt: skip
        other_files = config.trust_files != self._config.trust_files or self._trust.is_reloading
        self._config = replace(self._config, policy=config.policy, log=config.log, trust_files=config.trust_files)
        self._bindings.reload(config.frr)
        if self._reconciler and new.bgp:
            self._reconciler.reload(config.frr, new.bgp)
        if self._redirect and config.redirect:
            self._redirect.reload(config.redirect)
        if other_files:
            self._trust.reload(self._trust_reader(config), lambda trust: self._judge_by(config.policy, trust))
        else:
            self._authorizer.reload(config.policy)
        self._enforcer.ends_denied = config.ike.ends_denied
        self.count_reload("applied")
        log.info("config_reloaded")

    def _judge_by(self, policy: Policy, trust: Trust) -> None:
        self._authorizer.reload(policy)
        self._authorizer.trust(trust)

    def count_reload(self, outcome: str) -> None:
        """Count a reload; ``refused`` where the new configuration was not valid."""
        self._telemetry.increment(runtime_metrics.CONFIG_RELOADS, outcome)

    def status(self) -> dict[str, Any]:
        """Return the whole state, as ``dmvpn-agent status`` shows it."""
        return {
            "version": __version__,
            "dry_run": self._dry_run,
            "role": str(self._config.role),
            "started": self._started.isoformat(timespec="seconds"),
            "tunnel_interfaces": [
                {"name": name, "profile": profile, "up": self._kernel.up[name]}
                for name, profile in self._config.tunnels.items()
            ],
            "nhrpd": {"connected": self._events.open_connections > 0, "trouble": self._bindings.trouble},
            "charon": charon_status(self._charon),
            "trust": trust_status(self._trust, self._authorizer.denials),
            "peers": peers_status(self._peers, self._reconciler, self._clocks),
            "decisions": decisions_status(self._authorizer),
            "frr": frr_status(self._reconciler),
            "frr_access": access_status(self._terminals.reader.used, self._terminals.writer.name, self._reconciler),
            "redirect": redirect_status(self._redirect),
        }
