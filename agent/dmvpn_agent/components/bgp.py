"""BGP neighbors and filters."""

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp import metrics
from dmvpn_agent.bgp.frr_bgpd import FrrBgpd
from dmvpn_agent.bgp.gauges import observe_reconciler
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.components.context import Context
from dmvpn_agent.config.settings import Config
from dmvpn_agent.runtime.supervisor import Part
from dmvpn_agent.view.recorded import HistoryWriter, RecordedBgpd


class BgpComponents:
    """``reconciler`` is ``None`` if the agent does not manage BGP."""

    def __init__(self, context: Context, writer: HistoryWriter, peers: Peers) -> None:
        self.reconciler: Reconciler | None = None
        if context.config.bgp is None:
            return
        reconciler = self.reconciler = _make_reconciler(context, context.config.bgp, writer, peers)
        context.peers_changed.add(reconciler.trigger)
        context.telemetry.expect(metrics)
        observe_reconciler(context.telemetry, reconciler)
        context.process.readiness.add("bgpd", lambda: reconciler.trouble or "")

    def neighbor_addresses(self) -> frozenset[Address] | None:
        """Return the addresses of the agent's neighbors; ``None`` while they are unknown."""
        return self.reconciler.neighbors() if self.reconciler else frozenset()

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these."""
        return [Part("reconciler", self.reconciler.run)] if self.reconciler else []

    def reload(self, config: Config) -> None:
        """Apply a changed configuration."""
        if self.reconciler and config.bgp:
            self.reconciler.reload(config.frr, config.bgp)


def _make_reconciler(context: Context, settings: BgpSettings, writer: HistoryWriter, peers: Peers) -> Reconciler:
    terminals, telemetry = context.terminals, context.telemetry
    bgpd = FrrBgpd(terminals.reader, terminals.writer, settings.instance, telemetry)
    return Reconciler(
        context.config.frr,
        settings,
        peers,
        RecordedBgpd(bgpd, writer),
        telemetry,
        context.clocks,
        dry_run=context.dry_run,
    )
