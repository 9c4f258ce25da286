"""RFC 3779 extensions become claims. The bytes are written out, so each test shows its input."""

from ipaddress import ip_network

import pytest

from certificates import NULL as INHERIT
from certificates import bits, blocks, numbers, sequence, tlv
from dmvpn_agent.addresses import AsRange
from dmvpn_agent.x509.certificate import Inheritable
from dmvpn_agent.x509.claims import MAX_CLAIMS
from dmvpn_agent.x509.rfc3779 import read_address_blocks, read_as_identifiers


def test_prefixes_are_read_in_order() -> None:
    """A BIT STRING of n bits is a prefix of length n, also for n = 0; both families are read."""
    v4 = sequence(tlv(4, b"\x00\x01"), sequence(bits(4, "0a0020"), bits(0, ""), bits(0, "c0a80101")))
    v6 = sequence(tlv(4, b"\x00\x02"), sequence(bits(0, "20010db8"), bits(7, "20010db880")))
    claims, inherits = read_address_blocks(sequence(v4, v6))
    expected = ["10.0.32.0/20", "0.0.0.0/0", "192.168.1.1/32", "2001:db8::/32", "2001:db8:8000::/33"]
    assert [(claim.field, claim.text, claim.value) for claim in claims] == [
        ("IPAddrBlocks", text, ip_network(text)) for text in expected
    ]
    assert not inherits


def test_a_range_is_a_claim_for_each_prefix_of_it() -> None:
    """Each claim names its range."""
    claims, _ = read_address_blocks(blocks(sequence(bits(0, "c0a801"), bits(2, "c0a800"))))
    assert [(claim.text, claim.value) for claim in claims] == [
        ("192.168.1.0-192.168.3.255 (192.168.1.0/24)", ip_network("192.168.1.0/24")),
        ("192.168.1.0-192.168.3.255 (192.168.2.0/23)", ip_network("192.168.2.0/23")),
    ]


def test_spare_bits_at_the_upper_end_of_a_range_may_be_ones() -> None:
    """strongSwan's pki writes them as ones; they mean ones either way."""
    strongswan = blocks(sequence(bits(0, "c0a801"), bits(2, "c0a803")))
    assert read_address_blocks(strongswan) == read_address_blocks(
        blocks(sequence(bits(0, "c0a801"), bits(2, "c0a800")))
    )


@pytest.mark.parametrize(("family", "inheritable"), [("0001", Inheritable.IPV4), ("0002", Inheritable.IPV6)])
@pytest.mark.parametrize("safi", ["", "01"])
def test_a_family_can_be_inherited(family: str, safi: str, inheritable: Inheritable) -> None:
    """``inherit`` names no prefix; SAFI 1 is the same as no SAFI."""
    data = sequence(sequence(tlv(4, bytes.fromhex(family + safi)), INHERIT))
    assert read_address_blocks(data) == ((), frozenset({inheritable}))


@pytest.mark.parametrize("family", ["0003", "000102", "000180", "0101"])
def test_an_unsupported_family_is_a_claim_without_value(family: str) -> None:
    """Its content is ignored, and the other families are read."""
    other = sequence(tlv(4, bytes.fromhex(family)), b"\x02\x01\x05")
    known = sequence(tlv(4, b"\x00\x01"), sequence(bits(0, "0a")))
    claims, _ = read_address_blocks(sequence(other, known))
    assert [(claim.text, claim.value) for claim in claims] == [
        (f"address family {family}", None),
        ("10.0.0.0/8", ip_network("10.0.0.0/8")),
    ]


def test_ipv4_mapped_ipv6_is_no_prefix() -> None:
    """It would be a second spelling of an IPv4 prefix."""
    mapped = bits(0, "00000000000000000000ffff0a")
    (claim,), _ = read_address_blocks(blocks(mapped, family="0002"))
    assert claim.value is None


MALFORMED_BLOCKS = {
    "nothing": b"",
    "no sequence": b"\x04\x00",
    "something behind": sequence() + b"\x00",
    "indefinite length": b"\x30\x80\x00\x00",
    "length not minimal": b"\x30\x81\x00",
    "length with a leading zero": b"\x30\x82\x00\x80" + bytes(128),
    "longer than it is": b"\x30\x05\x30",
    "huge length": b"\x30\x84\xff\xff\xff\xff",
    "length of 127 octets": b"\x30\xff" + bytes(127),
    "long tag": b"\x3f\x81\x00\x00",
    "family is no sequence": sequence(b"\x31\x00"),
    "family of one octet": sequence(sequence(tlv(4, b"\x01"), INHERIT)),
    "family of four octets": sequence(sequence(tlv(4, b"\x00\x01\x01\x01"), INHERIT)),
    "family alone": sequence(sequence(tlv(4, b"\x00\x01"))),
    "family as an integer": sequence(sequence(tlv(2, b"\x01"), INHERIT)),
    "family twice": sequence(*[sequence(tlv(4, b"\x00\x01"), sequence())] * 2),
    "family twice, once as unicast": sequence(
        sequence(tlv(4, b"\x00\x01"), INHERIT), sequence(tlv(4, b"\x00\x01\x01"), sequence())
    ),
    "inherit with content": sequence(sequence(tlv(4, b"\x00\x01"), b"\x05\x01\x00")),
    "inherit and more": sequence(sequence(tlv(4, b"\x00\x01"), INHERIT, sequence())),
    "addresses and more": sequence(sequence(tlv(4, b"\x00\x01"), sequence(), INHERIT)),
    "empty bit string": blocks(b"\x03\x00"),
    "spare bits not zero": blocks(bits(4, "0a002f")),
    "spare bits all one in a prefix": blocks(bits(2, "c0a803")),
    "spare bits half one in a range": blocks(sequence(bits(0, "c0a801"), bits(2, "c0a802"))),
    "spare bits all one at the lower end": blocks(sequence(bits(2, "c0a803"), bits(0, "c1"))),
    "eight spare bits": blocks(bits(8, "0a00")),
    "spare bits of nothing": blocks(bits(1, "")),
    "33 bits": blocks(bits(7, "0a00000080")),
    "129 bits": blocks(bits(7, "20" * 16 + "80"), family="0002"),
    "constructed bit string": blocks(b"\x23\x04\x03\x02\x00\x0a"),
    "range the wrong way": blocks(sequence(bits(0, "0b"), bits(0, "0a"))),
    "range of one": blocks(sequence(bits(0, "0a"))),
    "range of three": blocks(sequence(bits(0, "0a"), bits(0, "0b"), bits(0, "0c"))),
    "range of integers": blocks(sequence(b"\x02\x01\x01", b"\x02\x01\x02")),
    "a number for a prefix": blocks(b"\x02\x01\x01"),
    "good, then bad": blocks(bits(0, "0a"), bits(4, "0a002f")),
}


@pytest.mark.parametrize("data", MALFORMED_BLOCKS.values(), ids=MALFORMED_BLOCKS)
def test_malformed_address_blocks_are_one_claim_without_value(data: bytes) -> None:
    """No part of such an extension counts, and the claim says what is wrong."""
    (claim,), inherits = read_address_blocks(data)
    assert claim.value is None
    assert claim.field == "IPAddrBlocks"
    assert claim.text.startswith("malformed: ")
    assert not inherits


def test_the_number_of_prefixes_is_bounded() -> None:
    """A few ranges can mean thousands of prefixes; with one too many, none counts."""
    longest = sequence(bits(0, "00000001"), bits(1, "fffffffc"))
    claims, _ = read_address_blocks(blocks(*[longest] * 400))
    assert [(claim.text, claim.value) for claim in claims] == [
        (f"malformed: it names more than {MAX_CLAIMS} resources", None)
    ]
    claims, _ = read_address_blocks(blocks(*[bits(0, "0a")] * MAX_CLAIMS))
    assert len(claims) == MAX_CLAIMS
    assert all(claim.value is not None for claim in claims)


def test_as_numbers_and_ranges_are_read_in_order() -> None:
    """The range of all numbers is well-formed; the policy decides which are allowed."""
    everything = sequence(b"\x02\x01\x00", b"\x02\x05\x00\xff\xff\xff\xff")
    claims, inherits = read_as_identifiers(numbers(b"\x02\x03\x00\xfc\x00", everything, b"\x02\x01\x07"))
    assert [(claim.field, claim.text, claim.value) for claim in claims] == [
        ("ASIdentifiers", "64512", AsRange(64512, 64512)),
        ("ASIdentifiers", "0-4294967295", AsRange(0, 4294967295)),
        ("ASIdentifiers", "7", AsRange(7, 7)),
    ]
    assert not inherits


def test_as_numbers_can_be_inherited() -> None:
    """``inherit`` names no number."""
    assert read_as_identifiers(sequence(tlv(0xA0, INHERIT))) == ((), frozenset({Inheritable.AS_NUMBER}))


def test_routing_domains_are_a_claim_without_value() -> None:
    """The policy does not support them, and must not ignore them."""
    claims, _ = read_as_identifiers(sequence(tlv(0xA0, sequence(b"\x02\x01\x07")), tlv(0xA1, INHERIT)))
    assert [claim.value for claim in claims] == [AsRange(7, 7), None]


MALFORMED_AS = {
    "nothing": b"",
    "something behind": sequence() + b"\x00",
    "asnum empty": sequence(tlv(0xA0)),
    "asnum twice": sequence(tlv(0xA0, INHERIT), tlv(0xA0, INHERIT)),
    "rdi first": sequence(tlv(0xA1, INHERIT), tlv(0xA0, INHERIT)),
    "another tag": sequence(tlv(0xA2, INHERIT)),
    "implicit": sequence(tlv(0x80)),
    "inherit with content": sequence(tlv(0xA0, b"\x05\x01\x00")),
    "inherit and more": sequence(tlv(0xA0, INHERIT, sequence())),
    "negative": numbers(b"\x02\x01\xff"),
    "overlong": numbers(b"\x02\x02\x00\x07"),
    "empty number": numbers(b"\x02\x00"),
    "33 bits": numbers(b"\x02\x05\x01\x00\x00\x00\x00"),
    "very long": numbers(tlv(2, b"\x01" * 5000)),
    "range the wrong way": numbers(sequence(b"\x02\x01\x08", b"\x02\x01\x07")),
    "range of one": numbers(sequence(b"\x02\x01\x08")),
    "range of three": numbers(sequence(*[b"\x02\x01\x08"] * 3)),
    "boolean": numbers(b"\x01\x01\xff"),
    "good, then bad": numbers(b"\x02\x01\x07", b"\x02\x01\xff"),
}


@pytest.mark.parametrize("data", MALFORMED_AS.values(), ids=MALFORMED_AS)
def test_malformed_as_identifiers_are_one_claim_without_value(data: bytes) -> None:
    """No part of such an extension counts."""
    (claim,), inherits = read_as_identifiers(data)
    assert (claim.value, claim.text[:11]) == (None, "malformed: ")
    assert not inherits
