"""The joined view of peers, with its series."""

from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.charon.log_watch import CharonLogWatch
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.components.admission import AdmissionComponents
from dmvpn_agent.components.context import Context
from dmvpn_agent.config.settings import Config
from dmvpn_agent.kernel.nftables.gauges import observe_table
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.runtime.supervisor import Part
from dmvpn_agent.runtime.telemetry import Samples
from dmvpn_agent.view import metrics
from dmvpn_agent.view.known_peers import KnownPeers
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.peer_series import PeerSeries
from dmvpn_agent.view.peer_sources import PeerSources
from dmvpn_agent.view.peer_watch import PeerWatch
from dmvpn_agent.view.recorded import HistoryWriter
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.x509.trust_watch import TrustWatch


class ViewComponents:
    """Peers with their stage, from admission, charon and bgpd; ``reconciler`` is ``None`` without BGP."""

    def __init__(
        self,
        context: Context,
        writer: HistoryWriter,
        charon: CharonWatch,
        admission: AdmissionComponents,
        reconciler: Reconciler | None,
    ) -> None:
        config = context.config
        sources = PeerSources(
            admission.peers,
            admission.denials,
            charon,
            admission.bindings,
            reconciler,
            context.clocks,
            config.tunnels,
            admission.nhrpd.shortcuts,
        )
        self.known_peers = KnownPeers(context.store("known_peers", KnownPeers.TABLE))
        self.peer_watch = PeerWatch(sources, self.known_peers, config.peers, self._moved)
        self._charon = charon
        self._writer, self._telemetry = writer, context.telemetry
        self._telemetry.expect(metrics.STAGE_CHANGES)
        self._log_watch = CharonLogWatch(
            config.ike.vici_socket, self._wants_log, charon.note_failure, context.telemetry
        )
        self.peer_series = PeerSeries(lambda: self.peer_watch.current)
        self.peer_series.observe(context.telemetry)
        context.sas_changed.add(self.peer_watch.trigger)
        context.peers_changed.add(self.peer_watch.trigger)

    def observe(self, context: Context, charon: CharonWatch, trust: TrustWatch, table: TableReconciler) -> None:
        """Publish the series of other subjects that have the names of peers, or their certificates."""

        def certificates() -> Samples:
            samples = dict(self.peer_series.read()[metrics.CERTIFICATE_NOT_AFTER])
            for kind, found in ("own", charon.own_certificates.known), ("ca", trust.trust.authorities):
                for one in found:
                    key = (kind, "", one.subject)
                    samples[key] = max(samples.get(key, 0), one.not_after.timestamp())
            return samples

        context.telemetry.observe(metrics.CERTIFICATE_NOT_AFTER, certificates)
        observe_table(context.telemetry, table, self.peer_series.name_of)

    def _moved(self, peer: JoinedPeer, before: Stage | None) -> None:
        self._telemetry.increment(metrics.STAGE_CHANGES, str(peer.stage))
        self._writer.moved(peer, before)

    def _wants_log(self) -> bool:
        """Tell whether charon's log may explain why a peer has no IKE_SA or CHILD_SA, and nothing else does."""
        absent = {Stage.NO_IKE, Stage.AUTHENTICATION_FAILED, Stage.NO_CHILD_SA}
        needed = self._charon.connected and not self._charon.raises_alerts
        return needed and any(peer.stage in absent for peer in self.peer_watch.current)

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these."""
        return [
            Part("known_peers", start=self.known_peers.open, stop=self.known_peers.close),
            Part("peers", self.peer_watch.run),
            Part("charon_log", self._log_watch.run),
        ]

    def reload(self, config: Config) -> None:
        """Apply a changed configuration."""
        self.peer_watch.reload(config.peers)
