"""The bridge's composition root. The bridge does little and changes rarely: nhrpd drops all circuits if it stops."""

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
from dmvpn_agent.bridge.duplicate_terminator import DuplicateTerminator
from dmvpn_agent.bridge.gre_packet import send_acquire_packet
from dmvpn_agent.bridge.handover import HandoverFailed, preflight, replace_program
from dmvpn_agent.bridge.handover_state import Handover
from dmvpn_agent.bridge.vici_server import ViciServer
from dmvpn_agent.charon import metrics as charon_metrics
from dmvpn_agent.charon.vici_client import ViciCharon
from dmvpn_agent.config.reload import BRIDGE, restart_needed
from dmvpn_agent.config.settings import Config
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.process import Process
from dmvpn_agent.runtime.supervisor import Part, Supervisor
from dmvpn_agent.runtime.unix_socket import SocketInUse

log = structlog.get_logger()


class BridgeApp:
    """One bridge process. ``handed``: what the former program handed over, if this one replaces it."""

    def __init__(self, config: Config, handed: Handover | None) -> None:
        self._config = config
        self._handed = handed
        database = config.state_directory / "bridge.sqlite"
        failing = ("certificates", "surplus", "clients")
        self.process = Process("bridge", database, CertificateTable.TABLE, config.bridge.metrics, failing, Clocks(),
                               config.metrics_access)  # fmt: skip
        telemetry = self.telemetry = self.process.telemetry
        telemetry.expect(bridge_metrics, charon_metrics.VICI_EVENTS, charon_metrics.VICI_RECONNECTS)
        self.certificates = Certificates(
            CertificateTable(self.process.store),
            AuthorityFiles(config.trust_files.authorities).issued,
            telemetry,
            proven=handed.proven if handed else frozenset(),
        )
        self.acquirer = Acquirer(send_acquire_packet, telemetry, monotonic)
        self.bridge = Bridge(
            ViciCharon(config.ike.vici_socket, telemetry, refuses_itself=True),
            self.certificates,
            DuplicateTerminator(config.profiles, telemetry, monotonic),
            self.acquirer,
            config.profiles,
            telemetry,
            self.process.failures,
            announced=handed.announced if handed else (),
        )
        self.server = self._make_server()
        self.process.readiness.add("nhrpd", lambda: "" if tuple(self.bridge.clients) else "no client is connected")
        self.process.readiness.add("charon", lambda: "" if self.bridge.ready else "not connected")
        parts = [Part("bridge", self.bridge.run), *self.process.parts]
        self.supervisor = Supervisor(parts, self.process.failures)

    def _make_server(self) -> ViciServer:
        bridge, telemetry = self._config.bridge, self.telemetry
        limits = InitLimits(bridge.init_limit_half_open, bridge.init_limit_job_load)
        commands = Commands(self.bridge, self.acquirer, self._config.profiles, limits, telemetry)
        return ViciServer(bridge.listen, self.bridge, commands.answer, telemetry)

    async def start(self) -> None:
        """Open the sockets and load the stored certificates.

        Raises ``OSError`` or ``SocketInUse`` if the bridge cannot serve nhrpd. Any other failure is retried later.
        """
        log.info("bridge_starting", version=__version__)
        self.process.start()
        with self.process.failures.contained("store"):
            self.certificates.start()
        if self._handed:
            self.server.adopt(self._handed.listener, self._handed.clients)
            self.telemetry.increment(bridge_metrics.BRIDGE_UPGRADES, "taken_over")
            log.info("bridge_taken_over", clients=len(self._handed.clients), circuits=len(self._handed.announced))
        else:
            self.server.start()
            self._refuse_itself()
        await self.supervisor.start()
        log.info("bridge_listening", socket=str(self._config.bridge.listen), charon=str(self._config.ike.vici_socket))

    async def run(self) -> None:
        """Run the parts until cancelled."""
        await self.supervisor.run()

    async def stop(self) -> None:
        """Close everything."""
        with self.process.failures.contained("clients"):
            self.server.stop()
        await self.supervisor.stop()
        self.process.stop()
        log.info("bridge_stopped")

    async def upgrade(self) -> None:
        """Replace this program by the installed one, with all connections open; if that fails, continue."""
        try:
            await preflight()
        except Exception as error:
            self._keep("refused", error)
            return
        log.info("bridge_handing_over", circuits=len(self.bridge.circuits.announced))
        self.process.store.flush()
        await asyncio.to_thread(logs.flush)  # the thread that writes them ends with this program
        announced, proven = tuple(self.bridge.circuits.announced.values()), self.bridge.proven()
        listener, clients = self.server.freeze()
        try:
            replace_program(Handover(listener, clients, announced, proven))
        except Exception as error:  # after any failure this program serves the clients again
            self.server.thaw(clients)
            self._keep("failed", error)

    def _keep(self, outcome: str, error: Exception) -> None:
        self.telemetry.increment(bridge_metrics.BRIDGE_UPGRADES, outcome)
        trace = None if isinstance(error, HandoverFailed) else error
        log.error("upgrade_refused", why=str(error), consequence="the running program continues", exc_info=trace)

    def _refuse_itself(self) -> None:
        """Raise ``SocketInUse`` if ``ike.vici_socket`` is the bridge's own socket, through a link or a mount."""
        ours, charons = self._config.bridge.listen, self._config.ike.vici_socket
        with suppress(OSError):  # charon is not running yet
            if charons.samefile(ours):
                raise SocketInUse(
                    f"ike.vici_socket {charons} is the bridge's own socket {ours} under another name; set it to"
                    " charon's socket (charon.plugins.vici.socket in strongswan.conf)"
                )

    def reload(self, wanted: Config) -> None:
        """Log the changed keys that need a restart. The bridge applies a new ``[log]`` only, as ``serve`` does."""
        if keys := restart_needed(BRIDGE, self._config, wanted):
            log.warning("restart_needed", keys=keys, why="the bridge reads these keys at start only")
        self.process.count_reload("applied")
