"""The bridge put together. It does little and changes rarely: nhrpd drops every circuit when it goes."""

from datetime import UTC, datetime

import structlog

from dmvpn_agent import __version__
from dmvpn_agent.adapters.charon import ViciCharon
from dmvpn_agent.adapters.exposition import Exposition
from dmvpn_agent.adapters.gre_trigger import send_trigger
from dmvpn_agent.adapters.store import CertificateTable, Store
from dmvpn_agent.adapters.trust_files import AuthorityFiles
from dmvpn_agent.adapters.vici_server import ViciServer
from dmvpn_agent.config import Config
from dmvpn_agent.core import metrics
from dmvpn_agent.service.bridge import Bridge
from dmvpn_agent.service.certificates import Certificates
from dmvpn_agent.service.telemetry import Telemetry

log = structlog.get_logger()


class BridgeApp:
    """One bridge process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._telemetry = Telemetry()
        self._store = Store(config.state_directory / "bridge.sqlite")
        self._certificates = Certificates(
            CertificateTable(self._store), AuthorityFiles(config.trust_files.authorities).issued, self._telemetry
        )
        charon = ViciCharon(config.ike.vici_socket, self._telemetry)
        self._bridge = Bridge(charon, self._certificates, send_trigger, config.ike.profile, self._telemetry)
        self._server = ViciServer(config.bridge.listen, self._bridge, self._telemetry)
        self._metrics = Exposition(config.bridge.metrics, self._telemetry) if config.bridge.metrics else None
        started = datetime.now(UTC)
        self._telemetry.observe(metrics.BUILD_INFO, lambda: {(__version__, "bridge"): 1})
        self._telemetry.observe(metrics.START_TIME, started.timestamp)
        self._telemetry.observe(metrics.STORE_WRITABLE, lambda: self._store.survives)

    async def start(self) -> None:
        """Open the sockets and take up the certificates of before. Raises ``OSError`` or ``SocketInUse``."""
        log.info("bridge_starting", version=__version__)
        self._store.open()
        self._certificates.start()
        if self._metrics:
            self._metrics.start()
        await self._server.start()
        log.info("bridge_listening", socket=str(self._config.bridge.listen), charon=str(self._config.ike.vici_socket))

    async def run(self) -> None:
        """Do the work until cancelled."""
        await self._bridge.run()

    async def stop(self) -> None:
        """Close everything."""
        await self._server.stop()
        if self._metrics:
            self._metrics.stop()
        self._store.close()
        log.info("bridge_stopped")

    def reload(self, config: Config) -> None:
        """Put a changed configuration in force: of the bridge's, only the log is read again while running."""
        if (config.bridge, config.ike) != (self._config.bridge, self._config.ike):
            log.warning("restart_needed", why="the bridge's sockets and profile are read at start only")
        self.count_reload("applied")

    def count_reload(self, outcome: str) -> None:
        """Count a reload by how it went."""
        self._telemetry.increment(metrics.CONFIG_RELOADS, outcome)
