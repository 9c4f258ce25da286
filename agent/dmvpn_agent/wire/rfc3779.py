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
    claims: list[Claim[Network]] = []
    try:
        inherits = _address_blocks(der, claims)
    except Malformed as error:
        return (Claim(ADDRESS_BLOCKS, f"malformed: {error}", None),), frozenset()
    return tuple(claims), inherits


def read_as_identifiers(der: bytes) -> tuple[tuple[Claim[AsRange], ...], frozenset[Inheritable]]:
    """Read ASIdentifiers: the AS numbers, and whether they are left to the issuer."""
    claims: list[Claim[AsRange]] = []
    try:
        inherits = _as_identifiers(der, claims)
    except Malformed as error:
        return (Claim(AS_IDENTIFIERS, f"malformed: {error}", None),), frozenset()
    return tuple(claims), inherits


def _add(claims: list[Claim[T]], field: str, text: str, value: T | None) -> None:
    if len(claims) >= MAX_CLAIMS:
        raise Malformed(f"it names more than {MAX_CLAIMS} resources")
    claims.append(Claim(field, text, value))


def _address_blocks(der: bytes, claims: list[Claim[Network]]) -> frozenset[Inheritable]:
    inherits: list[Inheritable] = []
    seen: list[bytes] = []
    start, stop = only(der, 0, len(der), SEQUENCE)
    for tag, at, end in elements(der, start, stop):
        if tag != SEQUENCE:
            raise Malformed("an IPAddressFamily is no SEQUENCE")
        family_at, choice_at = expect(der, at, end, OCTET_STRING)
        afi, safi = der[family_at : family_at + 2], der[family_at + 2 : choice_at]
        if choice_at - family_at not in (2, 3):
            raise Malformed("an addressFamily is neither two nor three octets long")
        if afi not in _FAMILIES or safi not in (b"", _UNICAST):
            _add(claims, ADDRESS_BLOCKS, f"address family {(afi + safi).hex()}", None)
            continue
        if afi in seen:
            raise Malformed("an address family stands twice")
        seen.append(afi)
        choice = _named(der, choice_at, end)
        if choice is None:
            inherits.append(_FAMILIES[afi][0])
        else:
            _family(der, *choice, afi, claims)
    return frozenset(inherits)


def _family(der: bytes, start: int, stop: int, afi: bytes, claims: list[Claim[Network]]) -> None:
    _, width, address, network = _FAMILIES[afi]
    for tag, first, last in elements(der, start, stop):
        if tag == BIT_STRING:
            bits, length = _bits(der, first, last, width)
            block = network((bits << width - length, length))
            _add(claims, ADDRESS_BLOCKS, str(block), _plain(block))
        elif tag == SEQUENCE:
            low, high = _range(der, first, last, width)
            text = f"{address(low)}-{address(high)}"
            for place in _prefixes(low, high, width):
                block = network(place)
                _add(claims, ADDRESS_BLOCKS, f"{text} ({block})", _plain(block))
        else:
            raise Malformed("an IPAddressOrRange is neither a prefix nor a range")


def _plain(block: Network) -> Network | None:
    return block if block.version == 4 or is_plain(block.network_address) else None


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


def _as_identifiers(der: bytes, claims: list[Claim[AsRange]]) -> frozenset[Inheritable]:
    inherits: frozenset[Inheritable] = frozenset()
    expected = [_ASNUM, _RDI]
    start, stop = only(der, 0, len(der), SEQUENCE)
    for tag, at, end in elements(der, start, stop):
        if tag not in expected:
            raise Malformed(f"tag {tag:#04x} where asnum or rdi is expected")
        del expected[: expected.index(tag) + 1]
        if tag == _RDI:
            _add(claims, AS_IDENTIFIERS, "routing domain identifiers", None)
            continue
        choice = _named(der, at, end)
        if choice is None:
            inherits = frozenset({Inheritable.AS_NUMBER})
        else:
            _as_numbers(der, *choice, claims)
    return inherits


def _as_numbers(der: bytes, start: int, stop: int, claims: list[Claim[AsRange]]) -> None:
    for tag, at, end in elements(der, start, stop):
        if tag == INTEGER:
            low = high = _as_number(der, at, end)
        elif tag == SEQUENCE:
            first, next_at = expect(der, at, end, INTEGER)
            low = _as_number(der, first, next_at)
            high = _as_number(der, *only(der, next_at, end, INTEGER))
            if low > high:
                raise Malformed("a range of AS numbers ends before it begins")
        else:
            raise Malformed("an ASIdOrRange is neither a number nor a range")
        found = AsRange(low, high)
        _add(claims, AS_IDENTIFIERS, str(found), found)


def _as_number(der: bytes, start: int, stop: int) -> int:
    number = integer(der, start, stop)
    if number > MAX_AS_NUMBER:
        raise Malformed("an AS number has more than 32 bits")
    return number


def _named(der: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Return where the named resources of a choice start and stop; ``None`` for ``inherit``."""
    tag, start, stop = element(der, at, end)
    if stop != end:
        raise Malformed("something follows a choice")
    if tag == SEQUENCE:
        return start, stop
    if tag != NULL or start != stop:
        raise Malformed(f"tag {tag:#04x} where a SEQUENCE or an empty NULL is expected")
    return None
