"""The bridge put together. It does little and changes rarely: nhrpd drops every circuit when it goes."""

import asyncio
from contextlib import suppress
from time import monotonic

import structlog

from dmvpn_agent import __version__
from dmvpn_agent.bridge import metrics as bridge_metrics
from dmvpn_agent.bridge.acquire import Acquirer
from dmvpn_agent.bridge.authority_files import AuthorityFiles
from dmvpn_agent.bridge.bridge import Bridge
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.bridge.certificates import Certificates
from dmvpn_agent.bridge.commands import Commands, InitLimits
from dmvpn_agent.bridge.gre_packet import send_acquire_packet
from dmvpn_agent.bridge.handover import HandoverFailed, preflight, replace_program
from dmvpn_agent.bridge.handover_state import Handover
from dmvpn_agent.bridge.surplus_watch import SurplusEnder
from dmvpn_agent.bridge.vici_server import ViciServer
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.config.file import Config
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime import metrics as runtime_metrics
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.runtime.exposition import Exposition
from dmvpn_agent.runtime.loop_lag import LoopLag
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.supervisor import Failures, Part, Supervisor
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unix_socket import SocketInUse
from dmvpn_agent.runtime.unreadable import Unreadable
from dmvpn_agent.runtime.write_behind import WriteBehind

log = structlog.get_logger()


class BridgeApp:
    """One bridge process. ``handed``: what the program before it left, where this one replaced it."""

    def __init__(self, config: Config, handed: Handover | None) -> None:
        self._config = config
        self._handed = handed
        self._telemetry = telemetry = Telemetry()
        self._failures = Failures(telemetry, "certificates", "surplus", "store", "clients")
        telemetry.read_failed = lambda metric, error: self._failures.note("metrics", error, metric=metric.name)
        self._store = WriteBehind(Store(config.state_directory / "bridge.sqlite"))
        self._certificates = Certificates(
            CertificateTable(self._store, Unreadable(telemetry)),
            AuthorityFiles(config.trust_files.authorities).issued,
            telemetry,
            proven=handed.proven if handed else frozenset(),
        )
        profiles = config.profiles
        acquirer = Acquirer(send_acquire_packet, telemetry, monotonic)
        self._bridge = Bridge(
            ViciCharon(config.ike.vici_socket, telemetry, refuses_itself=True),
            self._certificates,
            SurplusEnder(profiles, telemetry, monotonic),
            acquirer,
            profiles,
            telemetry,
            self._failures,
            told=handed.told if handed else (),
        )
        limits = InitLimits(config.bridge.init_limit_half_open, config.bridge.init_limit_job_load)
        commands = Commands(self._bridge, acquirer, profiles, limits, telemetry)
        self._server = ViciServer(config.bridge.listen, self._bridge, commands.answer, telemetry)
        self._metrics = Exposition(config.bridge.metrics, telemetry) if config.bridge.metrics else None
        parts = [Part("bridge", self._bridge.run), Part("loop_lag", LoopLag(telemetry).run)]
        if exposition := self._metrics:
            parts.append(Part("metrics", start=exposition.start, stop=exposition.stop))
        self.supervisor = Supervisor(parts, self._failures)
        started = utc_now()
        telemetry.observe(runtime_metrics.BUILD_INFO, lambda: {(__version__, "bridge"): 1})
        telemetry.observe(runtime_metrics.LOG_LINES_DROPPED, logs.dropped)
        telemetry.observe(runtime_metrics.START_TIME, started.timestamp)
        telemetry.observe(runtime_metrics.STORE_WRITABLE, lambda: self._store.survives)

    async def start(self) -> None:
        """Open the sockets and take up the certificates of before.

        Raises ``OSError`` or ``SocketInUse`` where nhrpd cannot be served; whatever else fails is tried again later.
        """
        log.info("bridge_starting", version=__version__)
        asyncio.get_running_loop().set_exception_handler(self._failures.callback_failed)
        with self._failures.contained("store"):
            self._store.open()
            self._certificates.start()
        if self._handed:
            self._server.adopt(self._handed.listener, self._handed.clients)
            self._telemetry.increment(bridge_metrics.BRIDGE_UPGRADES, "taken_over")
            log.info("bridge_taken_over", clients=len(self._handed.clients), circuits=len(self._handed.told))
        else:
            self._server.start()
            self._refuse_itself()
        await self.supervisor.start()
        log.info("bridge_listening", socket=str(self._config.bridge.listen), charon=str(self._config.ike.vici_socket))

    async def run(self) -> None:
        """Do the work until cancelled."""
        await self.supervisor.run()

    async def stop(self) -> None:
        """Close everything."""
        with self._failures.contained("clients"):
            self._server.stop()
        await self.supervisor.stop()
        with self._failures.contained("store"):
            self._store.close()
        log.info("bridge_stopped")

    async def upgrade(self) -> None:
        """Become the program that is installed now, with all connections open; where that does not go, go on."""
        try:
            await preflight()
        except Exception as error:
            self._keep("refused", error)
            return
        log.info("bridge_handing_over", circuits=len(self._bridge.circuits.announced))
        self._store.write_back()
        await asyncio.to_thread(logs.flush)  # the thread that writes them ends with this program
        told, proven = tuple(self._bridge.circuits.announced.values()), self._bridge.proven()
        listener, clients = self._server.freeze()
        try:
            replace_program(Handover(listener, clients, told, proven))
        except Exception as error:  # whatever it is, the clients are served on
            self._server.thaw(clients)
            self._keep("failed", error)

    def _keep(self, outcome: str, error: Exception) -> None:
        self._telemetry.increment(bridge_metrics.BRIDGE_UPGRADES, outcome)
        trace = None if isinstance(error, HandoverFailed) else error
        log.error("upgrade_refused", why=str(error), consequence="the running program continues", exc_info=trace)

    def _refuse_itself(self) -> None:
        """Raise ``SocketInUse`` where charon's socket is our own by another name: a link, or a mount."""
        ours, charons = self._config.bridge.listen, self._config.ike.vici_socket
        with suppress(OSError):  # charon is not there yet
            if charons.samefile(ours):
                raise SocketInUse(
                    f"ike.vici_socket {charons} is the bridge's own socket {ours} by another name; name charon's own"
                    " socket there (charon.plugins.vici.socket in strongswan.conf)"
                )

    def reload(self, config: Config) -> None:
        """Put a changed configuration in force: of the bridge's, only the log is read again while running."""
        now = self._config
        if (config.bridge, config.ike, config.profiles) != (now.bridge, now.ike, now.profiles):
            log.warning("restart_needed", why="the bridge's sockets and profiles are read at start only")
        self.count_reload("applied")

    def count_reload(self, outcome: str) -> None:
        """Count a reload by how it went."""
        self._telemetry.increment(runtime_metrics.CONFIG_RELOADS, outcome)
