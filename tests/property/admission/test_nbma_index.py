"""Who came to an NBMA address before whom, found by index, is what a list of all comings says."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.admission.nbma_index import NbmaIndex
from dmvpn_agent.policy.peer import Peer
from factories import spoke

PEERS = st.builds(
    lambda number, at, interface, identity: replace(
        spoke(number), nbma_address=spoke(at).nbma_address, interface=interface, identity=identity
    ),
    st.integers(1, 5),
    st.integers(1, 2),
    st.sampled_from(["gre1", "gre2"]),
    st.sampled_from("abc"),
)


def _end(peer: Peer) -> Any:
    return peer.interface, peer.nbma_address


@given(st.lists(st.tuples(st.booleans(), PEERS), max_size=20), PEERS)
def test_who_was_there_before_is_who_came_before(steps: list[tuple[bool, Peer]], asking: Peer) -> None:
    """After any coming, going and moving; coming again to the same place loses no turn."""
    ends = NbmaIndex()
    there: dict[Any, Peer] = {}
    for comes, peer in steps:
        known = there.get(peer.protocol_address)
        if known is not None and (not comes or _end(known) != _end(peer)):
            del there[peer.protocol_address]
        if comes:
            ends.add(peer)
            there[peer.protocol_address] = peer
        else:
            ends.remove(peer.protocol_address)
    order = [peer for peer in there.values() if _end(peer) == _end(asking)]
    turn = next((place for place, peer in enumerate(order) if peer.protocol_address == asking.protocol_address), None)
    assert list(ends.before(asking)) == [peer for peer in order[:turn] if peer.identity != asking.identity]
