"""The page's composition root: a process that reads nodes and serves what they answer to browsers."""

import socket
import sys
from pathlib import Path

import structlog

from dmvpn_agent import __version__
from dmvpn_agent.config.page_file import PageConfig
from dmvpn_agent.config.reload import PAGE, restart_needed
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.page import metrics as page_metrics
from dmvpn_agent.page.api import Api
from dmvpn_agent.page.node import Node
from dmvpn_agent.page.settings import NodeSettings, PageSettings
from dmvpn_agent.page.sources import source
from dmvpn_agent.page.static_files import static_pages
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.exposition import OPEN_PATHS, SWITCH_INTERVAL, Exposed
from dmvpn_agent.runtime.http_access import AccessGuard
from dmvpn_agent.runtime.http_server import HttpServer
from dmvpn_agent.runtime.http_site import Site
from dmvpn_agent.runtime.process import StatelessProcess
from dmvpn_agent.runtime.supervisor import Supervisor

log = structlog.get_logger()

#: Seconds in which a browser must send its request and read the answer: more than a node may take.
TIMEOUT = 20.0


class PageApp:
    """One page process."""

    def __init__(self, config: PageConfig, clocks: Clocks = Clocks()) -> None:  # noqa: B008  frozen
        self._config = config
        self.process = StatelessProcess("page", (), clocks)
        telemetry = self.process.telemetry
        telemetry.expect(page_metrics)
        self.nodes = [
            Node(node.name, source(node), telemetry, clocks.now) for node in shown(config.page, config.control_socket)
        ]
        for node in self.nodes:
            self.process.readiness.add(f"node {node.name}", lambda node=node: node.state.why)  # type: ignore[misc]
        telemetry.observe(page_metrics.PAGE_NODE_UP, self._up)
        exposed = Exposed(telemetry, self.process.readiness, self.process.name)
        pages = {**static_pages(), **exposed.pages, **Api(self.nodes).pages}
        page = config.page
        if page.listen is None:
            raise ConfigError(
                'page.listen is missing; expected an address and port, as "127.0.0.1:19344"; or name it by --listen'
            )
        site = Site(pages, open_paths=OPEN_PATHS, name="page", hosts=page.names)
        guard = AccessGuard(page.access, site.name)
        self._server = HttpServer(page.listen, guard, site, telemetry, timeout=TIMEOUT)
        self.supervisor = Supervisor(self.process.parts, self.process.failures)

    def _up(self) -> dict[tuple[str, ...], float]:
        return {(node.name,): float(not node.state.why) for node in self.nodes if node.state.asked}

    async def start(self) -> None:
        """Listen. Raises ``OSError``, which says what to do, if address or files are not usable."""
        log.info("page_starting", version=__version__, nodes=[node.name for node in self.nodes])
        self.process.start()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._server.start()
        await self.supervisor.start()
        log.info("page_listening", address=str(self._config.page.listen))

    async def run(self) -> None:
        """Run until cancelled."""
        await self.supervisor.run()

    async def stop(self) -> None:
        """Close everything."""
        self._server.stop()
        await self.supervisor.stop()
        log.info("page_stopped")

    async def upgrade(self) -> None:
        """Log that only the bridge can be replaced while it runs."""
        log.warning("no_upgrade", why="the page is not upgraded while it runs", do="restart it")

    def reload(self, wanted: PageConfig) -> None:
        """Log the changed keys that need a restart. The page applies a new ``[log]`` only, as ``serve`` does."""
        if keys := restart_needed(PAGE, self._config, wanted):
            log.warning("restart_needed", keys=keys, why="the page reads these keys at start only")
        self.process.count_reload("applied")


def shown(page: PageSettings, control_socket: Path) -> tuple[NodeSettings, ...]:
    """Return the configured nodes, or the agent on this machine."""
    return page.nodes or (NodeSettings(socket.gethostname(), control_socket),)
