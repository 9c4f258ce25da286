"""What a restart takes up, and what it does not bring back."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from dmvpn_agent.admission import metrics
from dmvpn_agent.admission.nhrp_event import AuthorizeBinding
from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.bgp import reconciler
from dmvpn_agent.bgp.desired import desired
from dmvpn_agent.bgp.plan import RemoveNeighbor
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.view.status import frr_status
from dmvpn_agent.x509.trust import Trust
from factories import Clock, decide, spoke_request
from fakes.admission import Admission
from fakes.bgpd_model import BgpdModel
from fakes.frr import MemoryStore
from fakes.frr_states import UNIVERSE
from fakes.node import Node
from fakes.waiting import until

#: A site's former router and its replacement: another name and address, the same prefix.
FORMER, REPLACEMENT = spoke_request(2, "192.168.1.0/24"), spoke_request(3, "192.168.1.0/24")
A, B = FORMER.protocol_address, REPLACEMENT.protocol_address
REVOKED = Deny(Reason.CERTIFICATE_REVOKED, "serial", "2a", "one that is not revoked")


def _loaded(store: MemoryStore, clock: Clock) -> Peers:
    peers = Peers(store)
    peers.load(decide, clock.uptime())
    return peers


def _addresses(peers: Peers) -> set[object]:
    return {peer.protocol_address for peer in peers}


class TestReplaced:
    """The stored questions of two peers that conflict."""

    def _stored(self, store: MemoryStore) -> MemoryStore:
        store.save(FORMER)
        store.save(REPLACEMENT)
        return store

    def test_the_replacement_comes_back_and_may_register_again(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The former router's request removes no peer."""
        node = Admission(self._stored(store), telemetry, clock.both)
        node.reauthorizer.start(Trust())
        assert _addresses(node.peers) == {B}
        assert isinstance(node.ask(AuthorizeBinding(1, REPLACEMENT)), Accept)
        assert _addresses(node.peers) == {B}

    def test_what_was_replaced_is_forgotten_when_nhrpd_was_read(self, store: MemoryStore, clock: Clock) -> None:
        """It does not come back at the next restart either."""
        peers = _loaded(self._stored(store), clock)
        assert peers.resolve_stored_conflicts(frozenset({B}), clock.uptime())
        assert (_addresses(peers), set(store.rows)) == ({B}, {B})

    def test_a_bound_peer_has_precedence_over_a_later_one(self, store: MemoryStore, clock: Clock) -> None:
        """The stored order can be older than what is."""
        peers = _loaded(self._stored(store), clock)
        assert peers.resolve_stored_conflicts(frozenset({A}), clock.uptime())
        assert (_addresses(peers), set(store.rows)) == ({A}, {A})
        assert not peers.resolve_stored_conflicts(frozenset({A}), clock.uptime())

    def test_the_later_one_stays_if_nhrpd_has_both_bound_or_none(self, store: MemoryStore, clock: Clock) -> None:
        """After a restart of the whole node no peer is bound."""
        for bound in (frozenset({A, B}), frozenset[object]()):
            peers = _loaded(self._stored(store), clock)
            peers.resolve_stored_conflicts(bound, clock.uptime())  # type: ignore[arg-type]
            assert _addresses(peers) == {B}

    def test_a_peer_that_is_gone_makes_way_for_its_replacement(self, store: MemoryStore, clock: Clock) -> None:
        """At once: it keeps no neighbor and no filter, and nothing to come back with."""
        peers = Peers(store)
        peers.apply_decision(FORMER, decide(FORMER), clock.uptime())
        peers.update_bound(frozenset(), clock.uptime())
        clock.advance(61)
        peers.apply_decision(REPLACEMENT, decide(REPLACEMENT), clock.uptime())
        assert (_addresses(peers), set(store.rows)) == ({B}, {B})

    def test_a_renewed_certificate_gains_nothing_that_another_live_peer_has(
        self, store: MemoryStore, telemetry: Telemetry, clock: Clock
    ) -> None:
        """The peer is denied like a new one."""
        node = Admission(store, telemetry, clock.both)
        node.ask(AuthorizeBinding(1, FORMER))
        node.ask(AuthorizeBinding(2, spoke_request(3, "192.168.3.0/24")))
        renewed = replace(spoke_request(3, "192.168.3.0/24", "192.168.1.128/25"))

        def refresh(request: BindingRequest) -> BindingRequest:
            return renewed if request.protocol_address == B else request

        members = node.peers.memberships()
        outcomes = [node.peers.rejudge(one, node.decider.decide_accepted, refresh) for one in members]
        (gone,) = [outcome for outcome in outcomes if isinstance(outcome, Revoked)]
        assert (gone.request.protocol_address, gone.why.reason) == (B, Reason.PREFIX_CONFLICT)
        assert _addresses(node.peers) == {A}


class TestDenied:
    """A peer that was revoked while the agent was down."""

    def _restarted(self, node: Node) -> None:
        """Start again, with what denies the peer now."""

        def judge(request: BindingRequest) -> Decision:
            return REVOKED if request.protocol_address == A else decide(request)

        node.start()
        node.peers = node.reconciler._peers = node.bindings._peers = Peers(node.store)
        node.peers.load(judge, node.clock.uptime())

    async def test_it_has_no_neighbor_and_no_filter_after_the_first_pass(self, node: Node) -> None:
        """An orphan is only an address that was not judged; until then the status is not in sync."""
        async with node.running():
            node.accept(2)
            node.accept(3)
            await node.settled()
        self._restarted(node)
        assert not (frr_status(node.reconciler) or {})["in_sync"]
        async with node.running():
            await node.settled()
        assert node.configured() == {"10.255.0.3"}
        assert set(node.bgpd.model.lists) == {"dmvpn-agent-10.255.0.3-in"}
        assert (frr_status(node.reconciler) or {})["in_sync"]

    def test_it_is_watched_until_it_is_gone(self, store: MemoryStore, telemetry: Telemetry, clock: Clock) -> None:
        """Its IKE_SA and binding are checked, as if it had just been revoked."""
        store.save(FORMER)
        node = Admission(store, telemetry, clock.both)
        node.decider.decide_stored = lambda _: REVOKED  # type: ignore[method-assign,assignment]
        node.reauthorizer.start(Trust())
        assert [(one.request, one.why) for one in node.revoked] == [(FORMER, REVOKED)]
        assert node.revoked[0].subject.endswith("CN=spoke2")


class TestOrphans:
    """Neighbors of the agent's whose peers it does not know, because its memory was lost."""

    async def _forgotten(self, node: Node) -> None:
        async with node.running():
            node.accept(2)
            node.accept(3)
            await node.settled()
        node.store.rows.clear()
        node.start()

    async def test_while_there_are_any_nothing_is_in_step(self, node: Node) -> None:
        """State and metrics name them."""
        await self._forgotten(node)
        async with node.running():
            await node.passed()
            assert node.configured() == {"10.255.0.2", "10.255.0.3"}
            status = frr_status(node.reconciler) or {}
            assert (status["in_sync"], status["last_sync"]) == (False, None)
            assert status["orphan_neighbors"] == ["10.255.0.2", "10.255.0.3"]
            node.clock.advance(601)
            await node.settled()
        assert (frr_status(node.reconciler) or {})["orphan_neighbors"] == []

    async def test_one_that_is_judged_is_none(self, node: Node) -> None:
        """A denied one goes at once; an accepted one that is denied later does not become one again."""
        await self._forgotten(node)
        async with node.running():
            await node.passed()
            assert node.peers.apply_decision(spoke_request(2), REVOKED, node.clock.uptime())
            node.accept(3)
            await node.settled()
            assert node.configured() == {"10.255.0.3"}
            node.peers.apply_decision(spoke_request(3), REVOKED, node.clock.uptime())
            await node.settled()
        assert node.configured() == set()

    async def test_a_stranger_cannot_make_one_go(self, node: Node) -> None:
        """Asking for its address, with a certificate that does not name it, says nothing of its peer."""
        await self._forgotten(node)
        stranger = replace(spoke_request(9), protocol_address=A)
        denial = decide(stranger)
        assert isinstance(denial, Deny)
        assert not node.peers.apply_decision(stranger, denial, node.clock.uptime())
        unconfirmed = replace(denial, reason=Reason.CERTIFICATE_UNCONFIRMED)
        assert not node.peers.apply_decision(spoke_request(2), unconfirmed, node.clock.uptime())
        async with node.running():
            await node.passed()
        assert "10.255.0.2" in node.configured()

    async def test_what_several_stored_peers_claim_is_touched_when_nhrpd_was_read(self, node: Node) -> None:
        """Until then each neighbor stands as it did: the restart breaks nothing that works."""
        node.bgpd.model = BgpdModel(UNIVERSE)
        async with node.running():
            node.accept(2, "192.168.1.0/24")
            await node.settled()
        node.store.save(REPLACEMENT)
        node.start()
        node.nhrpd.cache = None
        async with node.running():
            await node.passed()
            assert "10.255.0.2" in node.configured()
            node.nhrpd.cache = frozenset({A})
            await node.bindings.refresh()
            await node.settled()
        assert node.configured() == {"10.255.0.2"}
        assert node.telemetry.value(metrics.CACHE_READS, "read") == 1


async def test_a_binding_that_is_denied_loses_the_neighbor_of_before(node: Node) -> None:
    """The neighbor was for the peer that nhrpd has bound."""
    async with node.running():
        node.accept(2)
        await node.settled()
    node.store.rows.clear()
    node.start()
    async with node.running():
        await node.passed()
        node.peers.mark_judged(ip_address("10.255.0.2"))
        node.reconciler.trigger()
        await until(lambda: not node.configured())


async def test_who_registers_while_the_first_pass_compares_keeps_the_neighbor(
    node: Node, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store was lost; peers and orphans of a pass are those of one moment."""
    async with node.running():
        node.accept(2)
        await node.settled()
    store.rows.clear()
    loop, compute = asyncio.get_running_loop(), desired
    came: list[bool] = []

    def meanwhile(*arguments: Any) -> Any:
        if not came:
            came.append(True)
            asyncio.run_coroutine_threadsafe(_accept(node), loop).result()
        return compute(*arguments)

    monkeypatch.setattr(reconciler, "desired", meanwhile)
    node.start()
    node.bgpd.batches.clear()
    async with node.running():
        await node.settled()
    assert came
    assert not any(isinstance(change, RemoveNeighbor) for batch in node.bgpd.batches for change in batch)
    assert node.configured() == {"10.255.0.2"}


async def _accept(node: Node) -> None:
    node.accept(2)
