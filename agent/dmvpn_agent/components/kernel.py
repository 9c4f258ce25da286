"""The tunnel interfaces, the agent's nftables table and chain of iptables, uplinks and routes."""

from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.components.context import Context
from dmvpn_agent.config.settings import Config
from dmvpn_agent.kernel import metrics
from dmvpn_agent.kernel.events import AddressEvent, KernelEvent, LinkEvent, RouteEvent
from dmvpn_agent.kernel.iptables.reconciler import ChainReconciler
from dmvpn_agent.kernel.iptables.rules_in_force import RulesInForce
from dmvpn_agent.kernel.links.reconciler import LinkReconciler
from dmvpn_agent.kernel.nftables.guard_watch import GuardWatch
from dmvpn_agent.kernel.nftables.notifications import NftablesNotifications
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.source_filter import with_restrictions
from dmvpn_agent.kernel.routes.reconciler import RouteReconciler
from dmvpn_agent.kernel.routes.stale_entries import StaleEntries
from dmvpn_agent.kernel.uplink.interfaces import Interfaces
from dmvpn_agent.kernel.uplink.keeper import UplinkKeeper
from dmvpn_agent.runtime.supervisor import Part
from dmvpn_agent.runtime.telemetry import Samples
from dmvpn_agent.view.recorded import HistoryWriter, RecordedNftables
from dmvpn_agent.view.recorded_kernel import RecordedEntries, RecordedIptables, RecordedLinks, RecordedTables


class KernelComponents:
    """``uplinks`` and ``routes`` are ``None`` without ``[[uplink.link]]``."""

    def __init__(self, context: Context, writer: HistoryWriter, peers: Peers, bindings: BindingWatch) -> None:
        config, telemetry, dry_run = context.config, context.telemetry, context.dry_run
        telemetry.expect(metrics)
        self.watch = context.kernel_watch
        self.nftables = RecordedNftables(writer)
        self.links = LinkReconciler(config.links, RecordedLinks(writer), telemetry, context.clocks, dry_run=dry_run)
        self.table = TableReconciler(
            config.table,
            lambda: (*with_restrictions(peers, peers.absent(context.clocks.uptime())), *peers.denied),
            self.nftables,
            telemetry,
            dry_run=dry_run,
        )
        self.chain = ChainReconciler(config.chain, RecordedIptables(writer), telemetry, dry_run=dry_run)
        self.rules = RulesInForce(self.table, self.chain)
        self.guard = GuardWatch(config.table, self.watch.links, self.table, self.nftables)
        self.notifications = NftablesNotifications(self.table.table_changed)
        self.uplinks = self._make_uplinks(context)
        self.routes = self._make_routes(context, writer)
        self.stale_entries = StaleEntries(
            RecordedEntries(writer, config.interfaces), bindings, telemetry, context.clocks.uptime, dry_run=dry_run
        )
        self._subscribe(context)
        self._observe(context)

    def _make_uplinks(self, context: Context) -> UplinkKeeper | None:
        settings = context.config.uplink
        if settings is None:
            return None
        interfaces = Interfaces(self.watch)
        return UplinkKeeper(
            settings, interfaces, context.telemetry, context.tunnel_moved, dry_run=context.dry_run
        )  # fmt: skip

    def _make_routes(self, context: Context, writer: HistoryWriter) -> RouteReconciler | None:
        if self.uplinks is None:
            return None
        return RouteReconciler(
            self.uplinks.tables, RecordedTables(writer), context.telemetry, dry_run=context.dry_run
        )

    def _subscribe(self, context: Context) -> None:
        context.peers_changed.add(self.table.peers_changed)
        self.watch.subscribe(self.links.kernel_changed, LinkEvent, AddressEvent)
        self.watch.subscribe(self.guard.kernel_changed, LinkEvent)
        self.watch.subscribe(self._paths_changed, LinkEvent, AddressEvent, RouteEvent)

    def _paths_changed(self, _: KernelEvent) -> None:
        if self.uplinks:
            self.uplinks.trigger()
        if self.routes:
            self.routes.trigger()

    def _observe(self, context: Context) -> None:
        telemetry, add = context.telemetry, context.process.readiness.add
        telemetry.observe(metrics.TUNNEL_UP, self._tunnels_up)
        telemetry.observe(metrics.TUNNEL_IN_SYNC, self.links.in_sync)
        add("tunnel", lambda: ", ".join(f"{name} is down" for name, up in self.watch.up.items() if up is not True))
        self.rules.observe(telemetry)
        if context.config.redirect:
            add("redirect rule", lambda: "not in place" if self.rules.redirect is False else "")

    def _tunnels_up(self) -> Samples:
        return {(name,): float(up is True) for name, up in self.watch.up.items()}

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these."""
        parts = [
            Part("kernel", self.watch.run),
            Part("links", self.links.run),
            Part("stale_entries", self.stale_entries.run),
            Part("nftables", self.guard.run),
            Part("nftables_watch", self.notifications.run),
            Part("iptables", self.chain.run),
        ]
        if self.uplinks:
            parts.append(Part("uplinks", self.uplinks.run))
        if self.routes:
            parts.append(Part("routes", self.routes.run))
        return parts

    def reload(self, config: Config) -> None:
        """Apply a changed configuration."""
        self.links.reload(config.links)
        self.chain.reload(config.chain)
        self.guard.reload(config.table)
