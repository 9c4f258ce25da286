"""Makes the components of all subjects, and connects them. A constructor neither opens nor starts anything."""

from pathlib import Path

from dmvpn_agent.components.admission import AdmissionComponents
from dmvpn_agent.components.bgp import BgpComponents
from dmvpn_agent.components.charon import CharonComponents
from dmvpn_agent.components.context import Context
from dmvpn_agent.components.enforcement import EnforcementComponents
from dmvpn_agent.components.history import HistoryComponents
from dmvpn_agent.components.kernel import KernelComponents
from dmvpn_agent.components.trust import TrustComponents
from dmvpn_agent.components.view import ViewComponents
from dmvpn_agent.config.settings import Config
from dmvpn_agent.control.quarantines import Quarantines
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.supervisor import Part


class Components:
    """The components of one agent. They stay the same for the life of the process.

    ``record``: the file in which events are recorded. ``dry_run``: the agent changes nothing in FRR, nftables and
    charon.
    """

    def __init__(self, config: Config, record: Path | None, clocks: Clocks, *, dry_run: bool) -> None:
        context = self.context = Context(config, clocks, dry_run=dry_run)
        self.history = HistoryComponents(context, self._name_at, record)
        writer = self.history.writer
        self.charon = CharonComponents(context, writer, self._authorities_received)
        charon = self.charon.watch
        self.admission = AdmissionComponents(context, charon, self.history.decided)
        self.trust = TrustComponents(context, charon, self.admission.reauthorizer.use_trust)
        self.bgp = BgpComponents(context, writer, self.admission.peers)
        self.kernel = KernelComponents(context, writer, self.admission.peers, self.admission.bindings)
        self.enforcement = EnforcementComponents(
            context, writer, charon, self.admission, self.kernel.nftables, self.bgp.neighbor_addresses
        )
        self.view = ViewComponents(context, writer, charon, self.admission, self.bgp.reconciler)
        self.view.observe(context, charon, self.trust.watch, self.kernel.table)
        self.quarantines = Quarantines(context.store("quarantined", Quarantines.TABLE))

    # These reach components that are made after the ones that call them.

    def _name_at(self, address: str) -> str:
        return self.view.peer_watch.name_at(address)

    async def _authorities_received(self, certificates: list[bytes]) -> None:
        await self.trust.watch.learn(certificates)

    @property
    def parts(self) -> list[Part]:
        """Return what the agent runs, in the order of the start."""
        return [
            *self.history.parts,
            *self.context.process.parts,
            *self.kernel.parts,
            *self.charon.parts,
            *self.admission.parts,
            *self.trust.parts,
            *self.enforcement.parts,
            *self.bgp.parts,
            Part("quarantines", stop=self.quarantines.close),
            *self.view.parts,
        ]

    def reload(self, config: Config) -> None:
        """Apply a changed configuration, except the policy, CAs and CRLs."""
        for one in (self.admission, self.kernel, self.bgp, self.enforcement, self.view):
            one.reload(config)
