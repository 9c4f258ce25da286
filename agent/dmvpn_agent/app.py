"""The agent: what runs, its start, stop and reload, and its status."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from dmvpn_agent import __version__
from dmvpn_agent.charon.session import CharonLost
from dmvpn_agent.components import Components
from dmvpn_agent.config.file import Config
from dmvpn_agent.config.reload import AGENT, reloaded, restart_needed
from dmvpn_agent.control.actions import Actions
from dmvpn_agent.control.requests import Requests
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.control_socket import ControlSocket
from dmvpn_agent.runtime.supervisor import Part, Supervisor
from dmvpn_agent.view.status import (
    access_status,
    charon_status,
    decisions_status,
    frr_status,
    peers_status,
    redirect_status,
    source_filter_status,
    trust_status,
    tunnels_status,
)
from dmvpn_agent.x509.certificate import Role
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
        self._dry_run = dry_run
        self._clocks = clocks
        self.components = Components(config, record, clocks, dry_run=dry_run)
        self.process = self.components.process
        requests = self._make_requests()
        self._control = ControlSocket(config.control_socket, requests.answer, self.process.telemetry)
        self.supervisor = Supervisor(self._parts(), self.process.failures)

    def _make_requests(self) -> Requests:
        components = self.components
        actions = Actions(
            charon=components.charon,
            peer_watch=components.peer_watch,
            quarantines=components.quarantines,
            policy_changed=lambda: components.reauthorizer.use_policy(self._policy()),
            resync_all=self._resync,
            reload_config=self._reload_by_command,
            dry_run=self._dry_run,
        )
        return Requests(
            self.status,
            components.peer_watch,
            components.charon,
            components.history,
            actions,
            self._clocks.now,
        )

    def _policy(self) -> Policy:
        """Return the configured policy with the operator's quarantines."""
        return self.components.quarantines.in_force(self._config.policy)

    async def _resync(self) -> None:
        components = self.components
        with suppress(CharonLost):
            await components.charon.refresh()
        components.bindings.trigger()
        components.table.trigger()
        components.reauthorizer.sas_changed()
        if components.reconciler:
            components.reconciler.trigger()
        components.peer_watch.trigger()

    async def _reload_by_command(self) -> str:
        """Reload as SIGHUP does; return the outcome."""
        self.process.reloaded.clear()
        signal.raise_signal(signal.SIGHUP)
        async with asyncio.timeout(RELOAD_TIMEOUT):
            await self.process.reloaded.wait()
        return self.process.last_reload

    def _parts(self) -> list[Part]:
        """Return everything but the event socket: a part that fails is started again."""
        components = self.components
        parts = [
            Part("control", start=self._control.start, stop=self._control.stop),
            *self.process.parts,
            Part("kernel", components.kernel.run),
            Part("links", components.links.run),
            Part("charon", components.charon.run),
            Part("bindings", components.bindings.run),
            Part("trust", components.trust.run),
            Part("authorizer", components.reauthorizer.run),
            Part("enforcer", components.enforcer.run),
            Part("departures", components.teardown.run),
            Part("history", start=components.history.open, stop=components.history.close),
            Part("known_peers", start=components.known_peers.open, stop=components.known_peers.close),
            Part("quarantines", stop=components.quarantines.close),
            Part("peers", components.peer_watch.run),
            Part("reconnections", components.reconnections.run),
            Part("lost_peers", components.lost_peers.run),
            Part("stale_entries", components.stale_entries.run),
        ]
        if self._config.role is Role.HUB:
            parts.append(Part("unbound", components.orphan_sas.run))
        if components.hub_sas:
            parts.append(Part("hub_sas", components.hub_sas.run))
        if recorder := components.recorder:
            parts.insert(0, Part("recorder", start=recorder.start, stop=recorder.stop))
        if components.uplinks:
            parts.append(Part("uplinks", components.uplinks.run))
        if components.routes:
            parts.append(Part("routes", components.routes.run))
        if components.reconciler:
            parts.append(Part("reconciler", components.reconciler.run))
        notifications = NftablesNotifications(components.table.trigger)
        parts += [Part("nftables", components.table.run), Part("nftables_watch", notifications.run)]
        return parts

    async def start(self) -> None:
        """Open the sockets and load the stored peers.

        Raises ``OSError`` or ``SocketInUse``, with the path, if the agent cannot answer nhrpd. Any other failure is
        retried later.
        """
        components = self.components
        log.info("agent_starting", version=__version__, role=str(self._config.role), dry_run=self._dry_run)
        self.process.start()
        with self.process.failures.contained("quarantines"):
            components.quarantines.open()
            components.decider.use_policy(self._policy())
        components.decider.deny_until_trust()
        with self.process.failures.contained("trust"):
            components.trust.start()
            components.reauthorizer.use_trust(components.trust.trust)
        await components.events.start()
        await self.supervisor.start()
        log.info(
            "agent_ready",
            event_socket=str(self._config.event_socket),
            peers=len(components.peers),
            bgp=components.reconciler is not None,
            redirect=self._config.redirect is not None,
        )

    async def run(self) -> None:
        """Run the parts until cancelled."""
        await self.supervisor.run()

    async def stop(self) -> None:
        """Close everything. Bindings, BGP neighbors and the redirect rule stay for the next start."""
        with self.process.failures.contained("admission"):
            await self.components.events.stop()
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
        if keys := restart_needed(AGENT, former, wanted):
            log.warning("restart_needed", keys=keys, why="the agent reads these keys at start only")
        components.bindings.reload(config.frr)
        components.links.reload(config.links)
        if components.reconciler and config.bgp:
            components.reconciler.reload(config.frr, config.bgp)
        components.table.reload(config.table)
        if config.trust_files != former.trust_files or components.trust.is_reloading:
            reader = components.trust_reader(config.trust_files)
            components.trust.reload(reader, lambda trust: self._judge_by(self._policy(), trust))
        else:
            components.reauthorizer.use_policy(self._policy())
        components.enforcer.reload(ends_denied=config.ike.ends_denied)
        components.peer_watch.reload(config.peers)
        self.process.count_reload("applied")
        log.info("config_reloaded")

    def _judge_by(self, policy: Policy, trust: Trust) -> None:
        reauthorizer = self.components.reauthorizer
        reauthorizer.use_policy(policy)
        reauthorizer.use_trust(trust)

    def status(self) -> dict[str, Any]:
        """Return the whole state, as ``dmvpn-agent status`` shows it."""
        components = self.components
        reconciler, terminals = components.reconciler, components.terminals
        return {
            "version": __version__,
            "dry_run": self._dry_run,
            "role": str(self._config.role),
            "started": self.process.started.isoformat(timespec="seconds"),
            "tunnel_interfaces": [
                {"name": name, "profile": profile, "up": components.kernel.up[name]}
                for name, profile in self._config.tunnels.items()
            ],
            "nhrpd": {"connected": components.events.open_connections > 0, "trouble": components.bindings.trouble},
            "charon": charon_status(components.charon),
            "trust": trust_status(components.trust, components.denials),
            "peers": peers_status(components.peers, reconciler, self._clocks),
            "decisions": decisions_status(components.authorizer),
            "frr": frr_status(reconciler),
            "frr_access": access_status(terminals.reader.used, terminals.writer.name, reconciler),
            "tunnels": tunnels_status(components.links),
            "redirect": redirect_status(components.table),
            "source_filter": source_filter_status(components.table),
        }
