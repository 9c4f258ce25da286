"""The RFC 3779 readers against pyasn1-modules, an independent implementation of the same syntax."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import BitString
from pyasn1_modules import rfc3779

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.x509.certificate import Inheritable
from dmvpn_agent.x509.rfc3779 import read_address_blocks, read_as_identifiers

WIDTHS = {1: 32, 2: 128}
ADDRESSES: dict[int, type[Address]] = {1: IPv4Address, 2: IPv6Address}
INHERITABLE = {1: Inheritable.IPV4, 2: Inheritable.IPV6}
MAPPED = ip_network("::ffff:0:0/96")

Bits = tuple[int, int]
Block = Bits | tuple[Bits, Bits]


def _bits(afi: int) -> st.SearchStrategy[Bits]:
    """A prefix: its bits as a number, and how many."""
    return st.integers(0, WIDTHS[afi]).flatmap(lambda n: st.tuples(st.integers(0, max(2**n - 1, 0)), st.just(n)))


def _block(afi: int) -> st.SearchStrategy[Block]:
    ends = st.tuples(_bits(afi), _bits(afi)).filter(lambda pair: _low(afi, pair[0]) <= _high(afi, pair[1]))
    return _bits(afi) | ends


def _low(afi: int, bits: Bits) -> int:
    return bits[0] << WIDTHS[afi] - bits[1]


def _high(afi: int, bits: Bits) -> int:
    return (bits[0] + 1 << WIDTHS[afi] - bits[1]) - 1


def _networks(afi: int, block: Any) -> list[Network]:
    """The prefixes of a block."""
    low, high = block if isinstance(block[0], tuple) else (block, block)
    address = ADDRESSES[afi]
    return list(summarize_address_range(address(_low(afi, low)), address(_high(afi, high))))


Family = list[Block] | None  # None: inherit
FAMILIES = st.fixed_dictionaries(
    {}, optional={afi: st.none() | st.lists(_block(afi), max_size=4) for afi in (1, 2)}
)  # fmt: skip


def _bit_string(bits: Bits) -> BitString:
    return BitString(binValue=f"{bits[0]:0{bits[1]}b}" if bits[1] else "")


def _encode_blocks(families: dict[int, Any]) -> bytes:
    value = rfc3779.IPAddrBlocks()
    for place, (afi, choice) in enumerate(families.items()):
        family = rfc3779.IPAddressFamily()
        family["addressFamily"] = afi.to_bytes(2)
        if choice is None:
            family["ipAddressChoice"]["inherit"] = ""
        else:
            family["ipAddressChoice"]["addressesOrRanges"] = _choice(choice)
        value[place] = family
    return bytes(encode(value))


def _choice(blocks: Sequence[Any]) -> Any:
    choice = rfc3779.IPAddressChoice()["addressesOrRanges"].clone()
    choice.clear()
    for place, block in enumerate(blocks):
        item = rfc3779.IPAddressOrRange()
        if isinstance(block[0], tuple):
            item["addressRange"]["min"] = _bit_string(block[0])
            item["addressRange"]["max"] = _bit_string(block[1])
        else:
            item["addressPrefix"] = _bit_string(block)
        choice[place] = item
    return choice


@given(FAMILIES)
def test_address_blocks_encoded_by_pyasn1_read_back_equal(families: dict[int, Any]) -> None:
    """They give the same prefixes; only IPv4-mapped ones have no value."""
    claims, inherits = read_address_blocks(_encode_blocks(families))
    expected = [net for afi, blocks in families.items() for block in blocks or () for net in _networks(afi, block)]
    found = [claim.value for claim in claims]
    if not expected and None not in families.values():
        assert found == [None]  # an extension that names nothing
    else:
        assert found == [None if net.overlaps(MAPPED) and net.prefixlen >= 96 else net for net in expected]
    assert inherits == {INHERITABLE[afi] for afi, blocks in families.items() if blocks is None}


def _decode_blocks(der: bytes) -> tuple[list[Network], set[Inheritable]]:
    """What pyasn1 makes of bytes. Raises ``PyAsn1Error``."""
    value, rest = decode(der, asn1Spec=rfc3779.IPAddrBlocks())
    assert rest == b""
    networks: list[Network] = []
    inherits: set[Inheritable] = set()
    for family in value:
        afi = int.from_bytes(bytes(family["addressFamily"])[:2])
        choice = family["ipAddressChoice"]
        if choice.getName() == "inherit":
            inherits.add(INHERITABLE[afi])
            continue
        for item in choice["addressesOrRanges"]:
            part = item.getComponent()
            ends = [part] if item.getName() == "addressPrefix" else [part["min"], part["max"]]
            pairs = [(bits.asInteger() if len(bits) else 0, len(bits)) for bits in ends]
            networks += _networks(afi, pairs[0] if len(pairs) == 1 else (pairs[0], pairs[1]))
    return networks, inherits


AS_NUMBERS = st.integers(0, 2**32 - 1)
AS_RANGES = st.tuples(AS_NUMBERS, AS_NUMBERS).map(lambda pair: AsRange(min(pair), max(pair)))
AS_ITEMS = st.lists(AS_NUMBERS.map(lambda number: AsRange(number, number)) | AS_RANGES, max_size=5)


def _encode_as(items: list[AsRange] | None) -> bytes:
    value = rfc3779.ASIdentifiers()
    if items is None:
        value["asnum"]["inherit"] = ""
        return bytes(encode(value))
    choice = value["asnum"]["asIdsOrRanges"]
    choice.clear()
    for place, item in enumerate(items):
        entry = rfc3779.ASIdOrRange()
        if item.low == item.high:
            entry["id"] = item.low
        else:
            entry["range"]["min"], entry["range"]["max"] = item
        choice[place] = entry
    return bytes(encode(value))


def _decode_as(der: bytes) -> tuple[list[AsRange], set[Inheritable]]:
    """What pyasn1 makes of bytes. Raises ``PyAsn1Error``."""
    value, rest = decode(der, asn1Spec=rfc3779.ASIdentifiers())
    assert rest == b""
    assert not value["rdi"].isValue
    if not value["asnum"].isValue:
        return [], set()
    if value["asnum"].getName() == "inherit":
        return [], {Inheritable.AS_NUMBER}
    items = []
    for item in value["asnum"]["asIdsOrRanges"]:
        part = item.getComponent()
        items.append(AsRange(int(part), int(part)) if item.getName() == "id" else AsRange(*map(int, part.values())))
    return items, set()


@given(st.none() | AS_ITEMS)
def test_as_identifiers_encoded_by_pyasn1_read_back_equal(items: list[AsRange] | None) -> None:
    """They give the same numbers."""
    claims, inherits = read_as_identifiers(_encode_as(items))
    assert [claim.value for claim in claims] == ([None] if items == [] else items or [])
    assert inherits == ({Inheritable.AS_NUMBER} if items is None else set())


@st.composite
def _damaged(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes with a few of them replaced, inserted or left out; mostly by ones that mean something in DER."""
    data = bytearray(draw(valid))
    octets = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 0x30, 0x7F, 0x80, 0x81, 0xA0, 0xA1, 0xFF]) | st.integers(0, 255)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 2))] = bytes(draw(st.lists(octets, max_size=2)))
    return bytes(data)


def _check(der: bytes, read: Any, other: Any) -> None:
    claims, inherits = read(der)
    if any(claim.value is None for claim in claims):
        return
    assert other(der) == ([claim.value for claim in claims], inherits)


@given(_damaged(FAMILIES.map(_encode_blocks)) | st.binary(max_size=60))
def test_damaged_address_blocks_are_refused_or_mean_the_same_to_pyasn1(der: bytes) -> None:
    """Nothing raises, and nothing is accepted that pyasn1 refuses or reads differently."""
    _check(der, read_address_blocks, _decode_blocks)


@given(_damaged((st.none() | AS_ITEMS).map(_encode_as)) | st.binary(max_size=60))
def test_damaged_as_identifiers_are_refused_or_mean_the_same_to_pyasn1(der: bytes) -> None:
    """Nothing raises, and nothing is accepted that pyasn1 refuses or reads differently."""
    _check(der, read_as_identifiers, _decode_as)


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x02\x02\x01"])
def test_pyasn1_refuses_cut_input(der: bytes) -> None:
    """So the comparison is with a decoder that can refuse."""
    with pytest.raises(PyAsn1Error):
        _decode_as(der)
