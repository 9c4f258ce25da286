"""The state that a program hands over to the next one in an upgrade."""

import json
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bridge.handover_state import BadHandover, ClientState, Handover, decode_handover, encode_handover
from dmvpn_agent.charon.sa import ChildSa, IkeSa, same_circuit

NUMBERS = st.integers(0, 2**32 - 1)
TEXTS = st.text(max_size=20)
SAS = st.builds(
    IkeSa, NUMBERS, TEXTS, TEXTS, st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535), TEXTS, TEXTS, TEXTS,
    TEXTS, st.just(()), st.just(False),
)  # fmt: skip
CIRCUITS = st.tuples(SAS, st.builds(ChildSa, NUMBERS, TEXTS, TEXTS))
CLIENTS = st.lists(
    st.builds(ClientState, st.integers(4, 1000), st.frozensets(TEXTS, max_size=4), st.binary(), st.binary()),
    unique_by=lambda client: client.descriptor,
    max_size=4,
)
HANDOVERS = st.builds(
    lambda clients, told, proven: Handover(3, tuple(clients), tuple(told), proven),
    CLIENTS,
    st.lists(CIRCUITS, max_size=4),
    st.frozensets(st.text(max_size=9), max_size=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


@given(HANDOVERS)
def test_encoding_and_decoding_keep_everything(handover: Handover) -> None:
    """Sockets, their waiting bytes, and each circuit as nhrpd has it."""
    read = decode_handover(encode_handover(handover))
    assert (read.listener, read.clients) == (handover.listener, handover.clients)
    assert all(same_circuit(one, other) for one, other in zip(read.announced, handover.announced, strict=True))


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_nonsense_is_refused(data: bytes) -> None:
    """No other exception escapes."""
    with pytest.raises(BadHandover):
        decode_handover(data)


@given(HANDOVERS, st.data())
def test_a_changed_part_is_refused_or_read(handover: Handover, data: st.DataObject) -> None:
    """No other exception escapes."""
    whole = json.loads(encode_handover(handover))
    place = data.draw(st.sampled_from(["version", "listener", "clients", "told"]))
    whole[place] = data.draw(JSON)
    with suppress(BadHandover):
        decode_handover(json.dumps(whole).encode())


def _encoded(**changes: object) -> bytes:
    sa = IkeSa(1, "dmvpn", "ESTABLISHED", ip_address("::1"), ip_address("::2"), 500, "a", "b", "1", "2")
    client = ClientState(7, frozenset(), b"", b"")
    whole = json.loads(encode_handover(Handover(3, (client,), ((sa, ChildSa(1, "dmvpn", "INSTALLED")),))))
    return json.dumps({**whole, **changes}).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_encoded(version=2), "version 2, this program reads 1"),
        (_encoded(version=None), "version None"),
        (_encoded(listener=0), "not a descriptor"),
        (_encoded(listener=2**31), "not a descriptor"),
        (_encoded(listener=7), "twice"),
        (_encoded(listener=True), "not an integer"),
        (b"[" * 100_000, "nested too deep"),
        (b" " * (33 << 20), "more than"),
    ],
)
def test_a_refusal_names_the_reason(data: bytes, why: str) -> None:
    """The log shows it."""
    with pytest.raises(BadHandover, match=why):
        decode_handover(data)
