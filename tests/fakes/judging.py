"""An authorizer with its peers, for the tests: what it decides, and whom it lets go."""

from typing import Any

from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding, BadEvent
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.policy.rules import Policy
from dmvpn_agent.runtime.telemetry import Telemetry
from factories import POLICY, Clock
from fakes.frr import MemoryStore
from fakes.sas import FakeSas


class Judging:
    """A node without charon."""

    def __init__(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> None:
        self.changes = 0
        self.peers = Peers(store)
        self.authorizer = Authorizer(POLICY, self.peers, telemetry, clock.both, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def ask(self, event: AuthorizeBinding | BadEvent) -> Any:
        judgement = self.authorizer.decide(event)
        self.authorizer.settle(judgement)
        return judgement.decision


class Witnessed(Judging):
    """A node whose charon tells who is where."""

    def __init__(self, store: MemoryStore, telemetry: Telemetry, clock: Clock, by: Policy = POLICY) -> None:
        self.changes = 0
        self.gone: list[Revoked] = []
        self.sas = FakeSas()
        self.peers = Peers(store)
        self.authorizer = Authorizer(
            by, self.peers, telemetry, clock.both, self._changed, self.sas, self.gone.append
        )  # fmt: skip

    async def consider(self, event: AuthorizeBinding) -> Any:
        judgement = await self.authorizer.consider(event)
        self.authorizer.settle(judgement)
        return judgement.decision
