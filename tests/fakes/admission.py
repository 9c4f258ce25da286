"""What answers nhrpd and judges peers again, put together for the tests."""

from collections.abc import Callable
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.decider import ADMISSION, Decider
from dmvpn_agent.admission.decision_record import DecisionRecord
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent
from dmvpn_agent.admission.outcomes import Outcomes
from dmvpn_agent.admission.peers import Peers, PeerStore, Revoked
from dmvpn_agent.admission.reauthorizer import Reauthorizer
from dmvpn_agent.admission.sa_lookup import SaLookup, SaSource
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.supervisor import Failures
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import POLICY, Clock
from fakes.sas import FakeSas


class NoLookup(SaLookup):
    """Leaves every request as nhrpd wrote it: charon is not asked."""

    def __init__(self) -> None:
        super().__init__(FakeSas())

    def complete(self, request: BindingRequest) -> BindingRequest:
        return request

    complete_earlier = complete_accepted = with_current_certificate = complete

    def must_ask(self, *_: object) -> bool:
        return False


class Admission:
    """A decider with what uses it. Without ``sas``, charon is not asked. ``revoked`` are the revoked peers."""

    def __init__(
        self,
        store: PeerStore,
        telemetry: Telemetry,
        clocks: Clocks,
        policy: Policy = POLICY,
        sas: SaSource | None = None,
        own: Callable[[], frozenset[Address]] = frozenset,
        record: Callable[[bytes, DecisionRecord], None] = lambda *_: None,
    ) -> None:
        self.changes = 0
        self.revoked: list[Revoked] = []
        self.peers = peers = Peers(store)
        self.denials = DenialTable()
        failures = Failures(telemetry, ADMISSION)
        self.decider = Decider(policy, peers, clocks, SaLookup(sas) if sas else NoLookup(), failures, own)
        outcomes = Outcomes(peers, self.denials, telemetry, clocks, self._changed, self.revoked.append)
        self.authorizer = Authorizer(self.decider, outcomes, telemetry, clocks, failures, record)
        self.reauthorizer = Reauthorizer(self.decider, outcomes, failures, clocks)

    def _changed(self) -> None:
        self.changes += 1

    def ask(self, event: AuthorizeBinding | BadEvent) -> Any:
        """Return the decision by charon's IKE_SAs as last read."""
        assert self.authorizer.handle(event, lambda *_: True) is None
        return self.authorizer.records[-1].decision

    async def ask_waiting(self, event: AuthorizeBinding | BadEvent) -> Any:
        """Return the decision that nhrpd gets if the answer may wait for charon."""
        later = self.authorizer.handle(event, lambda *_: True, may_wait=True)
        if later is not None:
            await later()
        return self.authorizer.records[-1].decision


class WithCharon(Admission):
    """One with a fake of charon's IKE_SAs."""

    def __init__(self, store: PeerStore, telemetry: Telemetry, clock: Clock, policy: Policy = POLICY) -> None:
        self.sas = FakeSas()
        super().__init__(store, telemetry, clock.both, policy, self.sas)
