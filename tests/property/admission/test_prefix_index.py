"""Who holds what overlaps, found by index, is who is found by looking at everybody."""

from ipaddress import IPv4Address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Network
from dmvpn_agent.admission.prefix_index import PrefixIndex
from dmvpn_agent.policy.peer import Peer
from factories import NBMA

#: A small corner of the address space, so that prefixes do overlap.
PREFIXES = st.builds(
    lambda value, length: ip_network((0xC0A80000 | (value << 8), length), strict=False),
    st.integers(0, 255), st.integers(14, 28),
) | st.builds(
    lambda value, length: ip_network(((0x20010DB8 << 96) | (value << 64), length), strict=False),
    st.integers(0, 15), st.integers(56, 70),
)  # fmt: skip
PEERS = st.builds(
    lambda number, identity, prefixes: Peer(
        protocol_address=IPv4Address("10.255.0.0") + number,
        nbma_address=NBMA,
        interface="gre1",
        as_number=64512,
        prefixes=tuple(dict.fromkeys(prefixes)),
        fingerprint="",
        subject=identity,
        not_after=None,
        identity=identity,
    ),
    st.integers(1, 6),
    st.sampled_from("abc"),
    st.lists(PREFIXES, max_size=3),
)


def _overlap(one: Peer, other: Peer) -> bool:
    def clash(a: Network, b: Network) -> Any:
        return a.version == b.version and a.overlaps(b)

    return one.protocol_address == other.protocol_address or any(
        clash(a, b) for a in one.prefixes for b in other.prefixes
    )


@given(st.lists(st.tuples(st.booleans(), PEERS), max_size=20), PEERS)
def test_what_conflicts_is_what_overlaps(steps: list[tuple[bool, Peer]], wanted: Peer) -> None:
    """After any coming and going, and both ways round."""
    holdings = PrefixIndex()
    there: dict[Any, Peer] = {}
    for comes, peer in steps:
        if comes:
            holdings.add(peer)
            there[peer.protocol_address] = peer
        else:
            holdings.remove(peer.protocol_address)
            there.pop(peer.protocol_address, None)
    expected = {peer for peer in there.values() if peer.identity != wanted.identity and _overlap(peer, wanted)}
    assert set(holdings.conflicting(wanted)) == expected
