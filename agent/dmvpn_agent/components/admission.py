"""nhrpd's event socket, the decisions, the accepted and denied peers, and nhrpd's cache."""

from collections.abc import Callable

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.bindings import BindingWatch
from dmvpn_agent.admission.decider import Decider
from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.event_socket import NhrpdSocket
from dmvpn_agent.admission.frr_nhrpd import FrrNhrpd
from dmvpn_agent.admission.gauges import observe_nhrpd, observe_peers
from dmvpn_agent.admission.outcomes import Outcomes
from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.admission.reauthorizer import Reauthorizer
from dmvpn_agent.admission.sa_lookup import SaLookup
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.components.context import Context
from dmvpn_agent.config.settings import Config
from dmvpn_agent.kernel.events import KernelEvent, LinkEvent, NeighbourEvent, RouteEvent, may_change_bindings
from dmvpn_agent.runtime.supervisor import Part


class AdmissionComponents:
    """``decided`` is called with each message of nhrpd and the decision on it."""

    def __init__(
        self, context: Context, charon: CharonWatch, decided: Callable[[bytes, DecisionRecord], None]
    ) -> None:
        self._interfaces = context.config.interfaces
        context.telemetry.expect(metrics)
        self.peers = Peers(PeerTable(context.process.store))
        self.denials = DenialTable()
        self.decider = self._make_decider(context, charon)
        outcomes = Outcomes(
            self.peers,
            self.denials,
            context.telemetry,
            context.clocks,
            context.peers_changed,
            context.peer_revoked,
        )
        failures = context.process.failures
        self.authorizer = Authorizer(self.decider, outcomes, context.telemetry, context.clocks, failures, decided)
        self.reauthorizer = Reauthorizer(self.decider, outcomes, failures, context.clocks)
        self.nhrpd = FrrNhrpd(context.terminals.reader, self._interfaces)
        self.bindings = self._make_bindings(context)
        self.events = NhrpdSocket(
            context.config.event_socket, self.authorizer, context.telemetry, opened=context.nhrpd_connected
        )
        self._subscribe(context)
        self._observe(context)

    def _make_decider(self, context: Context, charon: CharonWatch) -> Decider:
        return Decider(
            context.config.policy,
            self.peers,
            context.clocks,
            SaLookup(charon),
            context.process.failures,
            own_addresses=lambda: context.kernel_watch.addresses,
        )

    def _make_bindings(self, context: Context) -> BindingWatch:
        return BindingWatch(
            context.config.frr,
            self.nhrpd,
            self.peers,
            context.telemetry,
            context.clocks.uptime,
            departed=context.peers_changed,
            judge_unknown=self.authorizer.judge_unknown,
        )

    def _subscribe(self, context: Context) -> None:
        context.nhrpd_connected.add(self.bindings.trigger)
        context.sas_changed.add(self.reauthorizer.sas_changed)
        context.sas_changed.add(self.denials.changed.set)  # a new peer may share the NBMA address of an accepted one
        context.kernel_watch.subscribe(self._kernel_changed, LinkEvent, RouteEvent, NeighbourEvent)

    def _kernel_changed(self, event: KernelEvent) -> None:
        if may_change_bindings(event, self._interfaces):
            self.bindings.trigger()

    def _observe(self, context: Context) -> None:
        telemetry = context.telemetry
        telemetry.observe(metrics.EVENT_CONNECTIONS_OPEN, lambda: self.events.open_connections)
        telemetry.observe(metrics.DENIED_PEERS, lambda: len(self.denials))
        observe_peers(telemetry, self.peers)
        observe_nhrpd(telemetry, self.nhrpd)
        add = context.process.readiness.add
        add("nhrpd", lambda: "" if self.events.open_connections else "not connected to the event socket")
        add("nhrpd's cache", lambda: self.bindings.trouble or "")
        add("trust", lambda: "not read yet: every peer is denied" if self.decider.waits_for_trust else "")

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs of these; the event socket is not a part, as the agent ends without it."""
        return [Part("bindings", self.bindings.run), Part("authorizer", self.reauthorizer.run)]

    def reload(self, config: Config) -> None:
        """Apply a changed configuration, except the policy."""
        self.bindings.reload(config.frr)
