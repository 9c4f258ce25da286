"""Peers that come, go, are barred and replaced, over restarts of the agent at any moment."""

import asyncio
from ipaddress import ip_address

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dmvpn_agent.addresses import overlap
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding
from dmvpn_agent.admission.peer_index import GRACE
from dmvpn_agent.policy.decision import Accept
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.rules import Action, Maintenance, Policy
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.trust import Trust
from factories import Clock, policy, spoke_request
from fakes.admission import Admission
from fakes.frr import MemoryStore

#: Of these some want the same prefixes: a router and its replacements.
REQUESTS = (
    spoke_request(2, "192.168.1.0/24"),
    spoke_request(3, "192.168.1.0/24"),
    spoke_request(4, "192.168.1.128/25", "192.168.4.0/24"),
    spoke_request(5, "192.168.5.0/24"),
)
PEERS = st.sampled_from(range(len(REQUESTS)))


class Restarts(RuleBasedStateMachine):
    """An agent over a store that survives it; ``bound`` is nhrpd's cache, which survives it too."""

    def __init__(self) -> None:
        super().__init__()
        self.store, self.clock = MemoryStore(), Clock()
        self.bound: set[object] = set()
        self.barred: set[int] = set()
        self._begin()

    def _begin(self) -> None:
        self.admission = Admission(self.store, Telemetry(), self.clock.both, self._policy())
        self.peers = self.admission.peers
        self.admission.reauthorizer.start(Trust())

    def _policy(self) -> Policy:
        serials = [request.certificate.serial for number, request in enumerate(REQUESTS)
                   if number in self.barred and isinstance(request.certificate, Certificate)]  # fmt: skip
        return policy(maintenance=tuple(Maintenance(Action.DENY, serial=serial) for serial in serials))

    def _look(self) -> None:
        bound = frozenset(ip_address(str(address)) for address in self.bound)
        self.peers.resolve_stored_conflicts(bound, self.clock.uptime())
        self.peers.update_bound(bound, self.clock.uptime())

    def _members(self) -> set[object]:
        return {peer.protocol_address for peer in self.peers}

    @rule(number=PEERS)
    def register(self, number: int) -> None:
        """nhrpd asks, and binds whom it is told to."""
        request = REQUESTS[number]
        decision = self.admission.ask(AuthorizeBinding(1, request))
        if isinstance(decision, Accept):
            self.bound.add(request.protocol_address)
        self._look()

    @rule(number=PEERS)
    def leave(self, number: int) -> None:
        self.bound.discard(REQUESTS[number].protocol_address)
        self._look()

    @rule(seconds=st.sampled_from([1, 30, GRACE.total_seconds() + 1]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._look()

    @rule(number=PEERS)
    def bar(self, number: int) -> None:
        """An operator bars a peer, or lets it in again; whoever is denied is thrown out."""
        self.barred ^= {number}
        self.admission.reauthorizer.use_policy(self._policy())
        asyncio.run(self.admission.reauthorizer.rejudge())
        self.bound &= self._members()

    @rule(barred=st.sets(PEERS, max_size=2))
    def restart(self, barred: set[int]) -> None:
        """Nothing that works is changed, nothing that was over comes back, and who is denied now is none."""
        self.barred = barred
        before = self._members()
        self._begin()
        self._look()
        denied = {REQUESTS[number].protocol_address for number in barred}
        assert (before & self.bound) - denied <= self._members()
        # A denied peer's question stays stored: it is taken up if nothing denies it any more.
        assert self._members() - before <= set(self.store.rows)
        assert not self._members() & denied
        self.bound &= self._members()

    @rule(number=PEERS)
    def restart_and_register(self, number: int) -> None:
        """A bound peer that registers again before nhrpd was read is accepted again, if it was stored last."""
        request = REQUESTS[number]
        works = request.protocol_address in self._members() & self.bound
        self._begin()
        decision = self.admission.ask(AuthorizeBinding(1, request))
        if works and list(self.store.rows)[-1] == request.protocol_address:
            assert isinstance(decision, Accept)
        if isinstance(decision, Accept):
            self.bound.add(request.protocol_address)
        self._look()

    @invariant()
    def nobody_holds_what_another_one_holds(self) -> None:
        members: list[Peer] = list(self.peers)
        for one in members:
            for other in members:
                assert one.identity == other.identity or not any(
                    overlap(mine, theirs) for mine in one.prefixes for theirs in other.prefixes
                )

    @invariant()
    def nobody_who_is_barred_is_a_peer(self) -> None:
        assert not self._members() & {REQUESTS[number].protocol_address for number in self.barred}


Restarts.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestRestarts = Restarts.TestCase
