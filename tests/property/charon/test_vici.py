"""VICI packets with any content, split in any way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vici.protocol import Message
from vici.protocol import Packet as LibraryPacket

from dmvpn_agent.charon.vici import MAX_PACKET, Packet, PacketReader, PacketType, Section, ViciError, decode, encode

NAMED = {PacketType.CMD_REQUEST, PacketType.EVENT_REGISTER, PacketType.EVENT_UNREGISTER, PacketType.EVENT}
KEYS = st.text(min_size=1, max_size=20).filter(lambda text: len(text.encode()) < 256)
VALUES = st.recursive(
    st.binary(max_size=300) | st.lists(st.binary(max_size=20), max_size=4),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.dictionaries(KEYS, VALUES, max_size=5)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    kind = draw(st.sampled_from(PacketType))
    return Packet(kind, draw(KEYS) if kind in NAMED else "", draw(MESSAGES))


def _plain(section: Section) -> Section:
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in section.items()}


@given(packets())
def test_an_encoded_packet_is_decoded_unchanged(packet: Packet) -> None:
    """Type, name and message are the same."""
    read = decode(encode(packet)[4:])
    assert (read.type, read.name, _plain(read.message)) == (packet.type, packet.name, packet.message)


@given(st.lists(packets(), max_size=4), st.lists(st.integers(1, 40), min_size=1))
def test_any_split_of_the_stream_gives_the_same_packets(sent: list[Packet], sizes: list[int]) -> None:
    """Packets may arrive in pieces or several at once."""
    stream = b"".join(map(encode, sent))
    reader = PacketReader()
    received: list[Packet] = []
    while stream:
        size = sizes.pop(0) if sizes else len(stream)
        received += reader.feed(stream[:size])
        stream = stream[size:]
    assert [(packet.type, packet.name) for packet in received] == [(packet.type, packet.name) for packet in sent]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_a_vici_error(data: bytes) -> None:
    """Input that is not VICI raises no other exception."""
    try:
        list(PacketReader().feed(data))
        decode(data)
    except ViciError:
        pass


def test_a_packet_longer_than_charon_accepts_is_refused() -> None:
    """Its length field suffices to refuse it; no memory is reserved."""
    with pytest.raises(ViciError, match="announced"):
        list(PacketReader().feed((MAX_PACKET + 1).to_bytes(4, "big")))


def test_a_value_that_is_too_long_is_refused() -> None:
    """The length of a value has 16 bits."""
    with pytest.raises(ViciError, match="fit"):
        encode(Packet(PacketType.CMD_RESPONSE, message={"data": bytes(65536)}))


@given(KEYS, MESSAGES)
def test_a_clients_packets_equal_those_of_the_vici_package(name: str, message: Section) -> None:
    """They are the same bytes, and are read alike."""
    body = Message.serialize(message)
    assert encode(Packet(PacketType.CMD_REQUEST, name, message))[4:] == LibraryPacket.request(name, body)
    assert encode(Packet(PacketType.EVENT_REGISTER, name))[4:] == LibraryPacket.register_event(name)
    assert encode(Packet(PacketType.EVENT_UNREGISTER, name))[4:] == LibraryPacket.unregister_event(name)
    sent = encode(Packet(PacketType.EVENT, name, message))[4:]
    read = LibraryPacket.parse(sent)
    assert (read.response_type, read.event_type.decode()) == (PacketType.EVENT, name)
    assert Message.deserialize(read.payload) == decode(sent).message


@given(packets(), st.integers(0, 400))
def test_a_packet_that_is_cut_off_never_has_a_changed_element(packet: Packet, kept: int) -> None:
    """At most it reads as a shorter message of complete elements."""
    body = encode(packet)[4:]
    try:
        read = decode(body[:kept])
    except ViciError:
        return
    whole = list(_plain(packet.message).items())
    assert list(_plain(read.message).items()) == whole[: len(read.message)]


@pytest.mark.parametrize(("depth", "is_read"), [(32, True), (33, False), (130_000, False)])
def test_every_packet_that_is_read_can_be_written(depth: int, is_read: bool) -> None:
    """The bridge hands waiting requests to the next program; deeply nested sections could not be written."""
    body = b"\x01" + b"\x01\x01x" * depth + b"\x02" * depth
    if is_read:
        assert encode(decode(body))[4:] == body
    else:
        with pytest.raises(ViciError, match="deep"):
            decode(body)
