"""Peers that were accepted and are denied now, for the rules of policy.groups."""

from dataclasses import replace
from ipaddress import ip_network

from deciding import peer_of
from dmvpn_agent.admission.denied_peers import REMEMBERED, DeniedPeers
from dmvpn_agent.admission.peer_index import Membership
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.groups import Group, Groups
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Action, Maintenance
from dmvpn_agent.x509.trust import Trust
from factories import ADDRESS, Clock, certificate, decide, policy, request, spoke
from fakes.frr import MemoryStore

DENY = Deny(Reason.CERTIFICATE_REVOKED, "x", "y", "z")
NOW = Clock().uptime()


def _accepted(store: MemoryStore) -> tuple[Peers, Peer]:
    peers, decision = Peers(store), decide(request())
    assert isinstance(decision, Accept)
    peers.apply_decision(request(), decision, NOW)
    (peer,) = peers
    return peers, peer


def test_a_denied_peer_keeps_its_networks_but_may_send_nothing(store: MemoryStore) -> None:
    """Until it is accepted again."""
    peers, peer = _accepted(store)
    peers.rejudge(peers.memberships()[0], lambda _: DENY)
    assert tuple(peers.denied) == (peer.in_quarantine(),)
    (denied,) = peers.denied
    assert denied.own_networks == peer.own_networks
    peers.apply_decision(request(), decide(request()), NOW)
    assert tuple(peers.denied) == ()


def test_a_stranger_that_is_denied_is_not_kept(store: MemoryStore) -> None:
    """What its certificate claims was never accepted."""
    peers = Peers(store)
    peers.apply_decision(request(), DENY, NOW)
    assert tuple(peers.denied) == ()


def test_a_denied_peer_is_known_after_a_restart(store: MemoryStore) -> None:
    """By its stored request, if the policy would entitle it to anything."""
    _, peer = _accepted(store)
    judge = Judge(policy(maintenance=(Maintenance(Action.DENY, serial=certificate().serial),)), Trust())
    again = Peers(store)
    again.load(lambda asked: judge.decide(asked, Clock().now), NOW,
               lambda asked: judge.authorized_peer(asked, Clock().now))  # fmt: skip
    assert (tuple(again), tuple(again.denied)) == ((), (peer.in_quarantine(),))
    unrelated = Judge(policy(), Trust()).authorized_peer(request("GRE=10.255.0.77"), Clock().now)
    assert unrelated is None


def test_an_accepted_peer_takes_the_addresses_over() -> None:
    """Only those that it has: the rules for the denied one hold for the others."""
    denied = DeniedPeers()
    networks = tuple(ip_network(text) for text in ("192.168.2.0/24", "192.168.7.0/24"))
    denied.add(replace(spoke(2), prefixes=networks))
    denied.yield_to(replace(spoke(3), prefixes=networks[:1]))
    (left,) = denied
    assert left.own_networks == {ip_network(spoke(2).protocol_address), networks[1]}
    denied.yield_to(replace(spoke(2), identity="another"))
    assert tuple(denied) == ()


def test_a_peer_that_loses_its_prefixes_to_another_stays_in_its_groups(store: MemoryStore) -> None:
    """With the protocol address that it has."""
    peers, peer = _accepted(store)
    other = replace(spoke(3), prefixes=peer.prefixes)
    asked = replace(request(), protocol_address=other.protocol_address)
    peers.apply_decision(asked, Accept(other, replaces=(peer,)), NOW)
    (denied,) = peers.denied
    assert denied.own_networks == {ip_network(ADDRESS)}


def test_another_policy_changes_the_groups_of_the_same_peer_only() -> None:
    """A stranger that asks for the address of a denied peer says nothing about it."""
    denied, peer = DeniedPeers(), spoke(2)
    denied.add(peer)
    assert not denied.regroup(replace(peer, identity="another", groups=("servers",)))
    assert denied.regroup(replace(peer, groups=("branches",)))
    assert not denied.regroup(replace(peer, groups=("branches",)))
    assert [one.groups for one in denied] == [("branches",)]


def test_the_oldest_denials_are_forgotten() -> None:
    """Memory has a limit."""
    denied = DeniedPeers()
    for number in range(REMEMBERED + 2):
        denied.add(replace(spoke(2), protocol_address=ip_network("10.0.0.0/8")[number + 1], prefixes=()))
    assert len(tuple(denied)) == REMEMBERED


def test_in_quarantine_a_peer_has_the_groups_of_its_certificate() -> None:
    """And what its prefixes were."""
    groups = Groups((Group("branches", labels=("*",)),))
    free = peer_of(request(), policy(groups=groups))
    held = peer_of(request(), policy(groups=groups, maintenance=(Maintenance(Action.QUARANTINE, identity="*"),)))
    assert held == free.in_quarantine()
    assert (held.own_networks, held.groups) == (free.own_networks, ("branches",))


def test_a_denied_peer_of_a_site_leaves_its_prefixes_to_the_others(store: MemoryStore) -> None:
    """They may be in other groups."""
    peers, decided = Peers(store), decide(request())
    assert isinstance(decided, Accept)
    assert decided.peer is not None
    for address, identity in ((ADDRESS, "one"), (ADDRESS + 1, "its mate")):
        peer = replace(decided.peer, protocol_address=address, identity=identity, site="FIN")
        peers._insert(Membership(replace(request(), protocol_address=address), peer, NOW))
    peers.rejudge(peers.memberships()[0], lambda _: DENY)
    (denied,) = peers.denied
    assert denied.own_networks == {ip_network(ADDRESS)}
