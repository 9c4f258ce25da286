"""At which of its protocol addresses a peer has its BGP neighbor."""

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.desired import desired, neighbor_bindings
from dmvpn_agent.policy.peer import Peer
from factories import SETTINGS, spoke

ADDRESSES = [ip_address(text) for text in ("10.255.0.2", "10.255.0.3", "2001:db8:ff::2", "2001:db8:ff::3", "::a00:2")]
NBMA = [ip_address("203.0.113.2"), ip_address("203.0.113.3")]


@st.composite
def populations(draw: st.DrawFn) -> list[Peer]:
    """Bindings of a few peers, each of another protocol address, in any order."""
    return [
        replace(
            spoke(2),
            protocol_address=address,
            identity=draw(st.sampled_from(["one", "other"])),
            interface=draw(st.sampled_from(["gre1", "gre2"])),
            nbma_address=draw(st.sampled_from(NBMA)),
            as_number=draw(st.sampled_from([64514, 64514, None])),
        )
        for address in draw(st.lists(st.sampled_from(ADDRESSES), unique=True))
    ]


def _who(peer: Peer) -> tuple[str, str, Address]:
    return peer.interface, peer.identity, peer.nbma_address


@given(populations(), st.sets(st.sampled_from(ADDRESSES)))
def test_each_peer_has_one_neighbor_at_one_of_its_addresses(peers: list[Peer], absent: set[Address]) -> None:
    """At one that is bound if there is one, and at an IPv4 address if one of those is."""
    routed = [peer for peer in peers if peer.as_number is not None]
    found = neighbor_bindings(peers, SETTINGS, absent)
    assert found.keys() == {peer.protocol_address for peer in routed}
    for peer in routed:
        carrier = found[peer.protocol_address]
        own = [other for other in routed if _who(other) == _who(peer)]
        best = [other for other in own if other.protocol_address not in absent] or own
        assert carrier in best
        assert carrier.protocol_address.version == min(other.protocol_address.version for other in best)
    neighbors = desired(peers, SETTINGS, absent).neighbors
    assert sorted(map(str, neighbors)) == sorted({str(carrier.protocol_address) for carrier in found.values()})
    assert len(neighbors) == len({_who(peer) for peer in routed})


@given(populations(), st.sets(st.sampled_from(ADDRESSES)))
def test_the_order_of_registration_does_not_matter(peers: list[Peer], absent: set[Address]) -> None:
    """Both ends of a session choose the same address."""
    found = neighbor_bindings(peers, SETTINGS, absent)
    assert neighbor_bindings(peers[::-1], SETTINGS, absent) == found
