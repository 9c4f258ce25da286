"""The agent: what runs, its start, stop and reload, and its status."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from dmvpn_agent import __version__
from dmvpn_agent.charon.session import CharonLost
from dmvpn_agent.components.root import Components
from dmvpn_agent.config.reload import AGENT, reloaded, restart_needed
from dmvpn_agent.config.settings import Config
from dmvpn_agent.control.actions import Actions
from dmvpn_agent.control.requests import Requests
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.control_socket import ControlSocket
from dmvpn_agent.runtime.garbage import search_seldom
from dmvpn_agent.runtime.supervisor import Part, Supervisor
from dmvpn_agent.view.history import EntryKind
from dmvpn_agent.view.status import (
    access_status,
    charon_status,
    decisions_status,
    frr_status,
    gre_guard_status,
    multicast_status,
    peers_status,
    redirect_status,
    renewal_status,
    source_filter_status,
    trust_status,
    tunnels_status,
)
from dmvpn_agent.x509.trust import Trust

log = structlog.get_logger()

#: Seconds that a reload by command may take.
RELOAD_TIMEOUT = 5.0


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
        self._restart_needed: tuple[str, ...] = ()
        self._dry_run = dry_run
        self._clocks = clocks
        self.components = Components(config, record, clocks, dry_run=dry_run)
        self.process = self.components.context.process
        control = ControlSocket(config.control_socket, self._make_requests().answer, self.process.telemetry)
        parts = (Part("control", start=control.start, stop=control.stop), *self.components.parts)
        self.supervisor = Supervisor(parts, self.process.failures)

    def _make_requests(self) -> Requests:
        components = self.components
        actions = Actions(
            charon=components.charon.watch,
            peer_watch=components.view.peer_watch,
            quarantines=components.quarantines,
            policy_changed=lambda: components.admission.reauthorizer.use_policy(self._policy()),
            resync_all=self._resync,
            reload_config=self._reload_by_command,
            dry_run=self._dry_run,
        )
        return Requests(
            self.status,
            components.view.peer_watch,
            components.charon.watch,
            components.history.history,
            actions,
            self._clocks.now,
            self.process.telemetry,
        )

    def _policy(self) -> Policy:
        """Return the configured policy with the operator's quarantines."""
        return self.components.quarantines.in_force(self._config.policy)

    async def _resync(self) -> None:
        components = self.components
        with suppress(CharonLost):
            await components.charon.watch.refresh()
        components.admission.bindings.trigger()
        components.admission.reauthorizer.sas_changed()
        components.context.peers_changed()
        components.kernel.table.trigger()

    async def _reload_by_command(self) -> str:
        """Reload as SIGHUP does; return the outcome."""
        self.process.reloaded.clear()
        signal.raise_signal(signal.SIGHUP)
        async with asyncio.timeout(RELOAD_TIMEOUT):
            await self.process.reloaded.wait()
        return self.process.last_reload

    async def start(self) -> None:
        """Open the sockets and load the stored peers.

        Raises ``OSError`` or ``SocketInUse``, with the path, if the agent cannot answer nhrpd. Any other failure is
        retried later.
        """
        components = self.components
        log.info("agent_starting", version=__version__, role=str(self._config.role), dry_run=self._dry_run)
        search_seldom()
        self.process.start()
        self._note("start", f"version {__version__}{', dry run' if self._dry_run else ''}")
        with self.process.failures.contained("quarantines"):
            components.quarantines.open()
            components.admission.decider.use_policy(self._policy())
        components.admission.decider.deny_until_trust()
        with self.process.failures.contained("trust"):
            components.trust.watch.start()
            components.admission.reauthorizer.use_trust(components.trust.watch.trust)
        await components.admission.events.start()
        await self.supervisor.start()
        log.info(
            "agent_ready",
            event_socket=str(self._config.event_socket),
            peers=len(components.admission.peers),
            bgp=components.bgp.reconciler is not None,
            redirect=self._config.redirect is not None,
        )

    async def run(self) -> None:
        """Run the parts until cancelled."""
        await self.supervisor.run()

    async def stop(self) -> None:
        """Close everything. Bindings, BGP neighbors and the redirect rule stay for the next start."""
        self._note("stop", f"version {__version__}")
        with self.process.failures.contained("admission"):
            await self.components.admission.events.stop()
        await self.supervisor.stop()
        self.process.stop()
        log.info("agent_stopped")

    async def upgrade(self) -> None:
        """Log that only the bridge can be replaced while it runs."""
        log.warning("no_upgrade", why="the agent is not upgraded while it runs", do="restart it")

    def reload(self, wanted: Config) -> None:
        """Apply a changed configuration, as far as the agent can without a restart; log the keys that need one."""
        components = self.components
        former, self._config = self._config, reloaded(self._config, wanted)
        config = self._config
        self._restart_needed = keys = restart_needed(AGENT, former, wanted)
        if keys:
            log.warning("restart_needed", keys=keys, why="the agent reads these keys at start only")
        components.reload(config)
        if config.trust_files != former.trust_files or components.trust.watch.is_reloading:
            components.trust.reload(config.trust_files, lambda trust: self._judge_by(self._policy(), trust))
        else:
            components.admission.reauthorizer.use_policy(self._policy())
        self.process.count_reload("applied")
        self._note("reload", f"a restart is needed for {', '.join(keys)}" if keys else "in force")
        log.info("config_reloaded")

    def _note(self, what: str, text: str) -> None:
        with self.process.failures.contained("history"):
            self.components.history.history.add(EntryKind.AGENT, what, text=text)

    def _judge_by(self, policy: Policy, trust: Trust) -> None:
        reauthorizer = self.components.admission.reauthorizer
        reauthorizer.use_policy(policy)
        reauthorizer.use_trust(trust)

    def status(self) -> dict[str, Any]:
        """Return the whole state, as ``dmvpn-agent status`` shows it."""
        components = self.components
        admission, kernel, trust = components.admission, components.kernel, components.trust.watch
        reconciler, terminals = components.bgp.reconciler, components.context.terminals
        return {
            "version": __version__,
            "dry_run": self._dry_run,
            "role": str(self._config.role),
            "started": self.process.started.isoformat(timespec="seconds"),
            "configuration": {
                "read": self.process.config_read.isoformat(timespec="milliseconds"),
                "last_reload": self.process.last_reload,
                "restart_needed": list(self._restart_needed),
            },
            "store": {"directory": str(self._config.state_directory), "writable": self.process.is_stored},
            "tunnel_interfaces": [
                {"name": name, "profile": profile, "up": kernel.watch.up[name]}
                for name, profile in self._config.tunnels.items()
            ],
            "nhrpd": {
                "connected": admission.events.open_connections > 0,
                "trouble": admission.bindings.trouble,
            },
            "charon": charon_status(components.charon.watch, self._clocks.now()),
            "trust": trust_status(trust, admission.denials, components.trust.fetcher, self._clocks.now()),
            "renewal": renewal_status(self._config.renewal),
            "peers": peers_status(admission.peers, reconciler, self._clocks),
            "decisions": decisions_status(admission.authorizer),
            "frr": frr_status(reconciler),
            "frr_access": access_status(terminals.reader.used, terminals.writer.name, reconciler),
            "tunnels": tunnels_status(kernel.links),
            "redirect": redirect_status(kernel.rules),
            "multicast": multicast_status(kernel.rules),
            "source_filter": source_filter_status(kernel.table),
            "gre_guard": gre_guard_status(kernel.guard, kernel.table),
        }
