"""What a campaign begins with: valid certificates of every form, valid extensions, valid events, VICI."""

from dataclasses import dataclass
from ipaddress import ip_address

from certificates import (
    BLOCKS,
    BLOCKS_V2,
    BMP,
    COMMON_NAME,
    HUB_HOSTS,
    IA5,
    IS_HUB,
    NULL,
    NUMBERS,
    NUMBERS_V2,
    ORGANIZATION,
    PRINTABLE,
    SUBJECT_ALT_NAME,
    T61,
    TRUE,
    UNIT,
    alternatives,
    attribute,
    bits,
    blocks,
    der,
    extension,
    integer,
    name,
    numbers,
    sequence,
    tlv,
    units,
)
from dmvpn_agent.bridge.handover_state import ClientState, Handover, encode_handover
from dmvpn_agent.charon.sa_reader import parse_ike_sas
from dmvpn_agent.charon.vici import Packet, PacketType, decode, encode
from factories import NOW, event
from fakes.charon import FakeSa

UNITS = ("GRE=10.255.0.2", "AS=64512", "NET=192.168.2.0/24", "NET=2001:db8:2::/48", "GRE=2001:db8::2", "Hubs")

ADDRESS_BLOCKS = (
    blocks(bits(4, "0a0020"), sequence(bits(0, "c0a801"), bits(2, "c0a800")), bits(0, "c0a80101")),
    blocks(bits(0, "20010db8"), sequence(bits(0, "20010db800"), bits(0, "20010dba")), family="0002"),
    sequence(
        sequence(tlv(4, b"\x00\x01\x01"), NULL),
        sequence(tlv(4, b"\x00\x02"), sequence(bits(7, "20010db880"), bits(0, ""))),
    ),
)
AS_IDENTIFIERS = (
    numbers(integer(64512), sequence(integer(0), integer(2**32 - 1)), integer(4200000000)),
    sequence(tlv(0xA0, NULL)),
    sequence(tlv(0xA0, sequence(integer(1))), tlv(0xA1, NULL)),
)
ALTERNATIVES = alternatives(
    (7, ip_address("10.255.0.2").packed),
    (7, ip_address("2001:db8::2").packed),
    (2, b"spoke1.example"),
    (1, b"spoke1@dmvpn.example"),
)
_DMVPN_CA = (
    extension(SUBJECT_ALT_NAME, ALTERNATIVES),
    extension(BLOCKS, ADDRESS_BLOCKS[0], critical=True),
    extension(NUMBERS, AS_IDENTIFIERS[0], critical=True),
    extension(IS_HUB, TRUE),
    extension(HUB_HOSTS, sequence(tlv(IA5, b"hub1.example"), tlv(IA5, b"hub2.example"))),
    extension("2.5.29.19", sequence(), critical=True),
    extension("2.5.29.15", bits(7, "80"), critical=True),
)

CERTIFICATES = (
    der(),
    der(units(*UNITS)),
    der(sequence(tlv(0x31, *(attribute(UNIT, text) for text in UNITS)), tlv(0x31, attribute(COMMON_NAME, "x")))),
    der(
        name(
            attribute(ORGANIZATION, b"Z\xfcrich", T61),
            attribute(UNIT, "AS=64512", PRINTABLE),
            attribute(UNIT, "GRE=10.255.0.2".encode("utf-16-be"), BMP),
        )
    ),
    der(extensions=_DMVPN_CA),
    der(units(*UNITS), extensions=_DMVPN_CA),
    der(extensions=[extension(BLOCKS_V2, ADDRESS_BLOCKS[1]), extension(NUMBERS_V2, AS_IDENTIFIERS[1])]),
    der(extensions=[extension(BLOCKS, ADDRESS_BLOCKS[2]), extension(NUMBERS, AS_IDENTIFIERS[2])]),
)

EVENTS = (
    *(event(number, certificate.hex()) for number, certificate in enumerate(CERTIFICATES, 1)),
    event(4294967295, ""),
    event(
        77,
        CERTIFICATES[0].hex(),
        type="nhs",
        old_type="cached",
        remote_addr="2001:db8::2",
        remote_nbma="2001:db8:ffff::2",
    ),
    event(1, CERTIFICATES[1].hex()) + event(2, ""),
)

_SA = FakeSa(7, "203.0.113.2", "CN=spoke1", children={11: "INSTALLED", 12: "REKEYED"})
_CHILDREN = _SA.section()["child-sas"]
#: What nhrpd asks, and what charon tells.
VICI = tuple(
    b"".join(map(encode, packets))
    for packets in (
        [Packet(PacketType.EVENT_REGISTER, "child-state-installed"), Packet(PacketType.CMD_REQUEST, "list-sas")],
        [
            Packet(
                PacketType.CMD_REQUEST, "initiate", {"child": "dmvpn", "my-host": "203.0.113.1", "other-host": "::1"}
            )
        ],
        [Packet(PacketType.CMD_REQUEST, "terminate", {"ike-id": "7"}), Packet(PacketType.CMD_RESPONSE)],
        [Packet(PacketType.EVENT, "list-sa", {"dmvpn": _SA.section()})],
        [Packet(PacketType.EVENT, "child-updown", {"up": "yes", "dmvpn": _SA.section()})],
        [Packet(PacketType.EVENT, "ike-rekey", {"dmvpn": {"old": _SA.section(), "new": _SA.section()}})],
        [
            Packet(
                PacketType.EVENT,
                "child-rekey",
                {"dmvpn": _SA.section(**{"child-sas": {"dmvpn": {"old": _CHILDREN["dmvpn-12"]}}})},
            )
        ],
        [Packet(PacketType.CMD_RESPONSE, message={"list": ["a", "b"], "data": bytes(300)})],
    )
)
_HANDED = tuple(parse_ike_sas(decode(VICI[3][4:]).message, NOW))
HANDOVERS = tuple(
    encode_handover(Handover(3, (ClientState(4, frozenset({"list-sa"}), unread, b"unsent"),), told))
    for unread, told in ((b"", ()), (VICI[0], tuple((sa, child) for sa in _HANDED for child in sa.children)))
)

#: What stands in a name instead of what should: look-alikes, other notations, characters that do something.
TEXTS = (
    "GRE=１0.255.0.2", "GRE=10.255.0.02", "GRE=10.255.0.2\x00", "GRE=::ffff:10.255.0.2", "GRE=::ffff:aff:2",
    "GRE=fe80::1%eth0", "GRE=10.255.0.2 ", "GRE=\u202e10.255.0.2", "GRЕ=10.255.0.2", "GRE=10.255.0.2\n", "GRE=",
    "AS=٦٤٥١٢", "AS=0", "AS=4294967295", "AS=4294967296", "AS=064512", "AS=6_4512", "AS=1-2", "AS=-1", "AS=1e3",
    "NET=0.0.0.0/0", "NET=192.168.2.1/24", "NET=192.168.2.0/255.255.255.0", "NET=192.168.2.0/+24", "NET=::/0",
    "NET=::ffff:0:0/96", "NET=10.0.0.0/8/8", "NET=10.0.0.0/２4", "Hubs\x00", "НUBS", "Hubs ", "\x1b[2J", "=", "==",
    "GRE==10.255.0.2", "a, OU=GRE=10.255.0.2", "\U0001f680", "x" * 300,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """An element of DER and what it consists of; ``children`` is empty if the content is not DER elements.

    ``size``: how many elements it is, itself included.
    """

    tag: int
    content: bytes
    children: "tuple[Node, ...]"
    encoded: bytes
    size: int


def tree(data: bytes) -> tuple[Node, ...]:
    """Return the elements that make up ``data``, those within strings of octets too; none where it is no DER."""
    nodes, at = [], 0
    while at < len(data):
        if len(data) - at < 2 or data[at + 1] > 0x84 or data[at + 1] == 0x80:
            return ()
        octets = max(data[at + 1] - 0x80, 0)
        start = at + 2 + octets
        length = int.from_bytes(data[at + 2 : start]) if octets else data[at + 1]
        if start + length > len(data):
            return ()
        tag, content = data[at], data[start : start + length]
        children = tree(content) if tag & 0x20 or tag == 4 else ()
        size = 1 + sum(child.size for child in children)
        nodes.append(Node(tag, content, children, data[at : start + length], size))
        at = start + length
    return tuple(nodes)
