"""The accepted peers over time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from dmvpn_agent.admission.peers import Peers, Revoked
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.rules import Action, Maintenance
from factories import ADDRESS, NBMA, UNITS, Clock, certificate, decide, policy, request, spoke
from fakes.frr import MemoryStore

LINGER = timedelta(seconds=600)
START = Clock().uptime()
NOBODY = frozenset[object]()
DENY = Deny(Reason.INTERNAL_ERROR, "x", "y", "z")


def _accept(wanted: BindingRequest) -> Decision:
    decision = decide(wanted)
    assert isinstance(decision, Accept)
    return decision


def _with_peer(store: MemoryStore) -> Peers:
    peers = Peers(store)
    assert peers.apply_decision(request(), _accept(request()), START)
    return peers


def test_an_accepted_peer_is_there_and_stored(store: MemoryStore) -> None:
    """It survives a restart."""
    peers = _with_peer(store)
    assert ADDRESS in peers
    assert len(peers) == 1
    assert store.rows == {ADDRESS: request()}


def test_the_same_acceptance_changes_nothing(store: MemoryStore) -> None:
    """A peer that registers again gives the reconciler nothing to do."""
    assert not _with_peer(store).apply_decision(request(), _accept(request()), START)


def test_a_new_certificate_is_a_change(store: MemoryStore) -> None:
    """The peer is what its latest accepted certificate says."""
    peers = _with_peer(store)
    renewed = request(*UNITS, "NET=192.168.9.0/24")
    assert peers.apply_decision(renewed, _accept(renewed), START)
    (peer,) = peers
    assert len(peer.prefixes) == 2
    assert store.rows == {ADDRESS: renewed}


def test_a_denial_of_the_same_certificate_takes_the_peer_back(store: MemoryStore) -> None:
    """It was accepted, and by the rules of now is not."""
    peers = _with_peer(store)
    assert peers.apply_decision(request(), DENY, START)
    assert ADDRESS not in peers


def test_a_denial_of_another_certificate_leaves_the_peer(store: MemoryStore) -> None:
    """A request for a peer's address cannot remove that peer."""
    peers = _with_peer(store)
    assert not peers.apply_decision(request("GRE=10.255.0.9"), DENY, START)
    assert not peers.apply_decision(request(certificate=None), DENY, START)
    assert ADDRESS in peers


def test_a_denial_of_another_pre_shared_key_leaves_the_peer(store: MemoryStore) -> None:
    """Neither has a certificate: the IKE identity tells them apart."""
    peers, accepted = Peers(store), _accept(request())
    own, other = (frozenset({IkePeer(name, has_certificate=False)}) for name in ("own", "other"))
    asked = request(certificate=None, ike_peers=own)
    peers.apply_decision(asked, accepted, START)
    for stranger in (other, own | other, frozenset[IkePeer](), None):
        assert not peers.apply_decision(replace(asked, nbma_address=NBMA + 1, ike_peers=stranger), DENY, START)
    assert ADDRESS in peers
    assert peers.apply_decision(asked, DENY, START)
    assert ADDRESS not in peers


def test_a_removed_peer_does_not_block_its_nbma_address(store: MemoryStore, clock: Clock) -> None:
    """The next peer there may be another one."""
    peers = _with_peer(store)
    peers.update_bound(frozenset(), START)
    assert peers.remove_absent(LINGER, START + LINGER + timedelta(seconds=1))
    next_one = replace(spoke(3), nbma_address=request().nbma_address)
    present = frozenset({IkePeer("OU=GRE=10.255.0.2, OU=AS=64512, OU=NET=192.168.2.0/24, CN=spoke1", True)})
    assert peers.earlier_at_nbma_address(next_one, present, START) == ()


def test_a_denial_on_another_interface_leaves_the_peer(store: MemoryStore) -> None:
    """The binding that was accepted stands on its own interface."""
    peers = _with_peer(store)
    assert not peers.apply_decision(request(interface="gre2"), DENY, START)
    assert ADDRESS in peers


def test_a_denied_stranger_is_no_change(store: MemoryStore) -> None:
    """Nothing of a denied peer is kept."""
    peers = Peers(store)
    assert not peers.apply_decision(request(), DENY, START)
    assert (len(peers), store.rows) == (0, {})


def test_a_bound_peer_stays(store: MemoryStore, clock: Clock) -> None:
    """As long as nhrpd has it, no time is too long."""
    peers = _with_peer(store)
    for _ in range(3):
        clock.advance(10_000)
        peers.update_bound(frozenset({ADDRESS}), clock.uptime())
        assert peers.remove_absent(LINGER, clock.uptime()) == ()
    assert ADDRESS in peers


def test_an_absent_peer_departs_after_the_linger_time(store: MemoryStore, clock: Clock) -> None:
    """Not at the first read that misses it, and not at the linger time, but after it."""
    peers = _with_peer(store)
    peers.update_bound(frozenset({ADDRESS}), clock.uptime())
    peers.update_bound(frozenset(), clock.uptime())
    clock.advance(600)
    peers.update_bound(frozenset(), clock.uptime())
    assert peers.remove_absent(LINGER, clock.uptime()) == ()
    clock.advance(1)
    (gone,) = peers.remove_absent(LINGER, clock.uptime())
    assert gone.protocol_address == ADDRESS
    assert (len(peers), store.rows) == (0, {})


def test_a_peer_that_comes_back_in_time_stays(store: MemoryStore, clock: Clock) -> None:
    """The time counts from the last absence."""
    peers = _with_peer(store)
    peers.update_bound(frozenset(), clock.uptime())
    clock.advance(599)
    peers.update_bound(frozenset({ADDRESS}), clock.uptime())
    peers.update_bound(frozenset(), clock.uptime())
    clock.advance(599)
    assert peers.remove_absent(LINGER, clock.uptime()) == ()


def test_a_peer_that_never_got_bound_departs_too(store: MemoryStore, clock: Clock) -> None:
    """An accept that nhrpd made nothing of does not stay for ever."""
    peers = _with_peer(store)
    clock.advance(601)
    peers.update_bound(frozenset(), clock.uptime())
    assert len(peers.remove_absent(LINGER, clock.uptime())) == 1


def test_a_changed_policy_judges_every_peer_again(store: MemoryStore) -> None:
    """Peers that pass stay; the others are removed and returned with the reason."""
    peers = _with_peer(store)
    assert not peers.rejudge(peers.memberships()[0], _accept)
    failed = peers.rejudge(peers.memberships()[0], lambda _: DENY)
    assert isinstance(failed, Revoked)
    assert (failed.request, failed.why) == (request(), DENY)
    assert len(peers) == 0


def test_who_came_or_left_since_is_not_judged_by_what_was(store: MemoryStore) -> None:
    """The pass took its list before nhrpd asked: the answer to that is the later word."""
    peers = _with_peer(store)
    (before,) = peers.memberships()
    renewed = request(*UNITS, "NET=192.168.9.0/24")
    peers.apply_decision(renewed, _accept(renewed), START)
    assert not peers.rejudge(before, lambda _: DENY)
    (now,) = peers.memberships()
    assert now.request.certificate is not None
    assert isinstance(peers.rejudge(now, lambda _: DENY), Revoked)
    assert not peers.rejudge(now, lambda _: DENY)


def test_a_peer_that_is_something_else_now_is_a_change(store: MemoryStore) -> None:
    """A policy may take a prefix from a peer, or quarantine it."""
    peers = _with_peer(store)
    quarantine = policy(maintenance=(Maintenance(Action.QUARANTINE, identity="*CN=spoke1"),))
    assert peers.rejudge(peers.memberships()[0], lambda asked: decide(asked, quarantine)) is True
    (peer,) = peers
    assert peer.quarantined


def test_a_renewed_certificate_that_is_denied_is_stored_all_the_same(store: MemoryStore) -> None:
    """After a restart the former one would be accepted, which the peer does not use any more."""
    peers = _with_peer(store)
    renewed = request(*UNITS[:2])
    failed = peers.rejudge(peers.memberships()[0], lambda _: DENY, lambda _: renewed)
    assert isinstance(failed, Revoked)
    assert failed.request == renewed
    assert store.rows == {ADDRESS: renewed}


def test_who_is_denied_now_may_be_accepted_after_a_restart(store: MemoryStore, clock: Clock) -> None:
    """What denies a peer may end while the agent is away; an expired certificate stays expired."""
    peers = _with_peer(store)
    peers.rejudge(peers.memberships()[0], lambda _: DENY)
    assert store.rows == {ADDRESS: request()}
    again = Peers(store)
    assert again.load(lambda _: replace(DENY, reason=Reason.CERTIFICATE_EXPIRED), clock.uptime()) != ()
    assert store.rows == {}


class TestConflicts:
    """What others hold."""

    def _other(self, **changes: Any) -> Peer:
        return replace(spoke(9, "192.168.2.128/25"), **changes)

    def test_an_overlapping_prefix_is_held(self, store: MemoryStore, clock: Clock) -> None:
        """By the peer that has it."""
        peers = _with_peer(store)
        assert [peer.protocol_address for peer in peers.conflicting(self._other(), clock.uptime())] == [ADDRESS]

    def test_the_same_identity_is_no_conflict(self, store: MemoryStore, clock: Clock) -> None:
        """A renewed certificate, or a second address of a peer."""
        peers = _with_peer(store)
        (own,) = peers
        assert peers.conflicting(self._other(identity=own.identity), clock.uptime()) == ()

    def test_who_was_not_bound_for_long_holds_nothing(self, store: MemoryStore, clock: Clock) -> None:
        """Its address and prefixes are free for other peers."""
        peers = _with_peer(store)
        clock.advance(61)
        assert peers.conflicting(self._other(), clock.uptime()) == ()
        peers.update_bound(frozenset({ADDRESS}), clock.uptime())
        assert peers.conflicting(self._other(), clock.uptime())

    def test_who_was_replaced_is_gone(self, store: MemoryStore) -> None:
        """Two peers never hold the same."""
        peers = _with_peer(store)
        (own,) = peers
        taken = Accept(self._other(), replaces=(own,))
        assert peers.apply_decision(request(protocol_address=taken.peer.protocol_address), taken, START)  # type: ignore[union-attr]
        assert ADDRESS not in peers
        assert ADDRESS not in store.rows


def test_who_was_replaced_when_a_peer_was_judged_again_is_gone(store: MemoryStore) -> None:
    """A policy or a certificate that gives one peer another's prefixes."""
    peers = _with_peer(store)
    theirs = certificate("GRE=10.255.0.3", "AS=64513", "NET=192.168.3.0/24", name="spoke2")
    second = request(protocol_address=ADDRESS + 1, certificate=theirs)
    peers.apply_decision(second, _accept(second), START)
    own, other = peers
    member = next(one for one in peers.memberships() if one.peer == other)
    assert peers.rejudge(member, lambda _: Accept(other, replaces=(own,))) is True
    assert [peer.protocol_address for peer in peers] == list(store.rows) == [ADDRESS + 1]


def test_an_accept_without_a_peer_changes_nothing(store: MemoryStore) -> None:
    """The binding is that of a peer which is there by another one."""
    peers = Peers(store)
    assert not peers.apply_decision(request(), Accept(None), START)
    assert (len(peers), store.rows) == (0, {})


def test_after_a_restart_peers_are_judged_again(store: MemoryStore, clock: Clock) -> None:
    """The store has the request, not the decision; the linger time begins again."""
    _with_peer(store)
    again = Peers(store)
    again.load(_accept, clock.uptime())
    (member,) = again.memberships()
    assert (member.peer.protocol_address, member.absent_since) == (ADDRESS, clock.uptime())
    third = Peers(store)
    assert third.load(lambda _: DENY, clock.uptime()) == (Revoked(request(), DENY),)
    assert len(third) == 0


def test_two_requests_with_equal_certificates_are_the_same() -> None:
    """The certificate's identity is its fingerprint, wherever it came from."""
    assert certificate() == certificate()


def test_a_peer_has_registered_if_it_is_bound_as_dynamic(store: MemoryStore) -> None:
    """Before that nhrpd has not made its binding; of type ``nhs`` it is by a registration of this node."""
    peers = _with_peer(store)
    assert not peers.has_registered("gre1", NBMA)
    peers.update_bound(frozenset({ADDRESS}), START)
    assert peers.has_registered("gre1", NBMA)
    assert not peers.has_registered("gre2", NBMA)
    assert not peers.has_registered("gre1", NBMA + 1)
    asked = replace(request(), binding_type=BindingType.NHS)
    peers.apply_decision(asked, _accept(asked), START)
    peers.update_bound(frozenset({ADDRESS}), START)
    assert not peers.has_registered("gre1", NBMA)
