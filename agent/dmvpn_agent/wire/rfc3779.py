"""Address blocks and AS identifiers of a certificate (RFC 3779; RFC 8360 has the same syntax under other OIDs).

What is not understood is a claim without a value, so that the policy denies it: another address family, a SAFI
other than unicast, routing domains, IPv4-mapped IPv6. An extension that is malformed anywhere is one such claim,
whatever else stands in it. Nothing raises.

RFC 3779 also asks for ascending order and for neighbouring blocks to be merged. strongSwan's ``pki --addrblock``
does neither, and it leaves the spare bits at the upper end of a range set (a DER encoder clears them); what such
an extension means is beyond doubt all the same, so it is read.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import islice
from typing import TypeVar

from dmvpn_agent.core.model import Address, AsRange, Claim, Inheritable, Network
from dmvpn_agent.wire.claims import MAX_AS_NUMBER, MAX_CLAIMS, is_plain
from dmvpn_agent.wire.der import (
    BIT_STRING,
    INTEGER,
    NULL,
    OCTET_STRING,
    SEQUENCE,
    Malformed,
    bit_string,
    element,
    elements,
    expect,
    integer,
    only,
)

T = TypeVar("T")

ADDRESS_BLOCKS = "IPAddrBlocks"
AS_IDENTIFIERS = "ASIdentifiers"

_ASNUM, _RDI = 0xA0, 0xA1
_UNICAST = b"\x01"
_FAMILIES: dict[bytes, tuple[Inheritable, int, type[Address], type[Network]]] = {
    b"\x00\x01": (Inheritable.IPV4, 32, IPv4Address, IPv4Network),
    b"\x00\x02": (Inheritable.IPV6, 128, IPv6Address, IPv6Network),
}


def read_address_blocks(der: bytes) -> tuple[tuple[Claim[Network], ...], frozenset[Inheritable]]:
    """Read IPAddrBlocks: the prefixes, and the families left to the issuer. A range is a claim per prefix of it."""
    inherits: set[Inheritable] = set()
    try:
        claims = _bounded(_address_blocks(der, inherits))
    except Malformed as error:
        return (Claim(ADDRESS_BLOCKS, f"malformed: {error}", None),), frozenset()
    return claims, frozenset(inherits)


def read_as_identifiers(der: bytes) -> tuple[tuple[Claim[AsRange], ...], frozenset[Inheritable]]:
    """Read ASIdentifiers: the AS numbers, and whether they are left to the issuer."""
    inherits: set[Inheritable] = set()
    try:
        claims = _bounded(_as_identifiers(der, inherits))
    except Malformed as error:
        return (Claim(AS_IDENTIFIERS, f"malformed: {error}", None),), frozenset()
    return claims, frozenset(inherits)


def _bounded(claims: Iterator[Claim[T]]) -> tuple[Claim[T], ...]:
    """Return all claims. Raises ``Malformed`` where they are too many, without having made them all."""
    found = tuple(islice(claims, MAX_CLAIMS + 1))
    if len(found) > MAX_CLAIMS:
        raise Malformed(f"it names more than {MAX_CLAIMS} resources")
    return found


def _address_blocks(der: bytes, inherits: set[Inheritable]) -> Iterator[Claim[Network]]:
    start, stop = only(der, 0, len(der), SEQUENCE)
    seen: set[bytes] = set()
    for tag, at, end in elements(der, start, stop):
        if tag != SEQUENCE:
            raise Malformed("an IPAddressFamily is no SEQUENCE")
        family_at, choice_at = expect(der, at, end, OCTET_STRING)
        family = der[family_at:choice_at]
        if len(family) not in (2, 3):
            raise Malformed("an addressFamily is neither two nor three octets long")
        if family[:2] not in _FAMILIES or family[2:] not in (b"", _UNICAST):
            yield Claim(ADDRESS_BLOCKS, f"address family {family.hex()}", None)
            continue
        if family[:2] in seen:
            raise Malformed("an address family stands twice")
        seen.add(family[:2])
        yield from _family(der, choice_at, end, family[:2], inherits)


def _family(der: bytes, at: int, end: int, family: bytes, inherits: set[Inheritable]) -> Iterator[Claim[Network]]:
    inheritable, width, address, network = _FAMILIES[family]
    if _is_inherit(der, at, end):
        inherits.add(inheritable)
        return
    start, stop = only(der, at, end, SEQUENCE)
    for tag, first, last in elements(der, start, stop):
        if tag == BIT_STRING:
            bits, length = _bits(der, first, last, width)
            block = network((bits << width - length, length))
            yield _block(str(block), block)
        elif tag == SEQUENCE:
            low, high = _range(der, first, last, width)
            text = f"{address(low)}-{address(high)}"
            for place in _prefixes(low, high, width):
                block = network(place)
                yield _block(f"{text} ({block})", block)
        else:
            raise Malformed("an IPAddressOrRange is neither a prefix nor a range")


def _block(text: str, block: Network) -> Claim[Network]:
    return Claim(ADDRESS_BLOCKS, text, block if block.version == 4 or is_plain(block.network_address) else None)


def _prefixes(low: int, high: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the prefixes, as first address and length, that make up a range (what ``ipaddress`` does, but faster)."""
    while low <= high:
        aligned = (low & -low).bit_length() - 1 if low else width
        size = min(aligned, (high - low + 1).bit_length() - 1)
        yield low, width - size
        low += 1 << size


def _bits(der: bytes, start: int, stop: int, width: int, *, or_ones: bool = False) -> tuple[int, int]:
    if stop - start > width // 8 + 1:
        raise Malformed("an address is longer than its family has bits")
    return bit_string(der, start, stop, or_ones=or_ones)


def _range(der: bytes, at: int, end: int, width: int) -> tuple[int, int]:
    """Return the first and the last address: what is cut off are zeros of the one and ones of the other."""
    start, next_at = expect(der, at, end, BIT_STRING)
    low, length = _bits(der, start, next_at, width)
    low <<= width - length
    start, stop = only(der, next_at, end, BIT_STRING)
    high, length = _bits(der, start, stop, width, or_ones=True)
    high = (high + 1 << width - length) - 1
    if low > high:
        raise Malformed("a range of addresses ends before it begins")
    return low, high


def _as_identifiers(der: bytes, inherits: set[Inheritable]) -> Iterator[Claim[AsRange]]:
    start, stop = only(der, 0, len(der), SEQUENCE)
    expected = [_ASNUM, _RDI]
    for tag, at, end in elements(der, start, stop):
        if tag not in expected:
            raise Malformed(f"tag {tag:#04x} where asnum or rdi is expected")
        del expected[: expected.index(tag) + 1]
        if tag == _RDI:
            yield Claim(AS_IDENTIFIERS, "routing domain identifiers", None)
        elif _is_inherit(der, at, end):
            inherits.add(Inheritable.AS_NUMBER)
        else:
            yield from _as_numbers(der, *only(der, at, end, SEQUENCE))


def _as_numbers(der: bytes, start: int, stop: int) -> Iterator[Claim[AsRange]]:
    for tag, at, end in elements(der, start, stop):
        if tag == INTEGER:
            number = _as_number(der, at, end)
            found = AsRange(number, number)
        elif tag == SEQUENCE:
            first, next_at = expect(der, at, end, INTEGER)
            low = _as_number(der, first, next_at)
            high = _as_number(der, *only(der, next_at, end, INTEGER))
            if low > high:
                raise Malformed("a range of AS numbers ends before it begins")
            found = AsRange(low, high)
        else:
            raise Malformed("an ASIdOrRange is neither a number nor a range")
        yield Claim(AS_IDENTIFIERS, str(found), found)


def _as_number(der: bytes, start: int, stop: int) -> int:
    number = integer(der, start, stop)
    if number > MAX_AS_NUMBER:
        raise Malformed("an AS number has more than 32 bits")
    return number


def _is_inherit(der: bytes, at: int, end: int) -> bool:
    """Tell whether an element is ``inherit NULL``; raise ``Malformed`` for a NULL that is no such thing."""
    tag, start, stop = element(der, at, end)
    if tag != NULL:
        return False
    if start != stop or stop != end:
        raise Malformed("inherit is no empty NULL")
    return True
