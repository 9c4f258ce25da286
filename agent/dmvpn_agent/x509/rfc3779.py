"""Reads address blocks and AS identifiers (RFC 3779; RFC 8360 has the same syntax under other OIDs).

An unsupported part becomes a claim without a value, which the policy denies: another address family, a SAFI other
than unicast, routing domains, IPv4-mapped IPv6. An extension that is malformed anywhere becomes one such claim. So
does an extension that names nothing: a CA with an empty extension holds nothing, unlike a CA without the extension.
Nothing raises.

RFC 3779 also requires ascending order and merged blocks. strongSwan's ``pki --addrblock`` does neither, and it sets
the spare bits at the upper end of a range, which DER clears. The meaning is clear all the same, so this is accepted.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from dmvpn_agent.addresses import AsRange, Network
from dmvpn_agent.x509.certificate import ADDRESS_BLOCKS, Claim, Inheritable
from dmvpn_agent.x509.claims import MAX_AS_NUMBER, MAX_CLAIMS, is_plain
from dmvpn_agent.x509.der import (
    BIT_STRING,
    INTEGER,
    NULL,
    OCTET_STRING,
    SEQUENCE,
    Element,
    Elements,
    Malformed,
    bit_string,
    decode,
    integer,
    parts,
)

T = TypeVar("T")

AS_IDENTIFIERS = "ASIdentifiers"

_ASNUM, _RDI = 0xA0, 0xA1
_INHERIT: Element = (NULL, b"", [])
_UNICAST = b"\x01"


def _ipv4(address: int) -> str:
    """Return an address as text; ``ipaddress`` takes three times as long, and every prefix needs this."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def _ipv6(address: int) -> str:
    return str(IPv6Address(address))


_FAMILIES: dict[bytes, tuple[Inheritable, int, Callable[[int], str], type[Network]]] = {
    b"\x00\x01": (Inheritable.IPV4, 32, _ipv4, IPv4Network),
    b"\x00\x02": (Inheritable.IPV6, 128, _ipv6, IPv6Network),
}


def read_address_blocks(data: bytes) -> tuple[tuple[Claim[Network], ...], frozenset[Inheritable]]:
    """Read IPAddrBlocks: the prefixes and the inherited families. A range gives a claim for each of its prefixes."""
    claims: list[Claim[Network]] = []
    try:
        inherits = _address_blocks(data, claims)
    except Malformed as error:
        return (Claim(ADDRESS_BLOCKS, f"malformed: {error}", None),), frozenset()
    if not (claims or inherits):
        return (Claim(ADDRESS_BLOCKS, "no addresses", None),), frozenset()
    return tuple(claims), inherits


def read_as_identifiers(data: bytes) -> tuple[tuple[Claim[AsRange], ...], frozenset[Inheritable]]:
    """Read ASIdentifiers: the AS numbers, and whether they are inherited."""
    claims: list[Claim[AsRange]] = []
    try:
        inherits = _as_identifiers(data, claims)
    except Malformed as error:
        return (Claim(AS_IDENTIFIERS, f"malformed: {error}", None),), frozenset()
    if not (claims or inherits):
        return (Claim(AS_IDENTIFIERS, "no AS numbers", None),), frozenset()
    return tuple(claims), inherits


def _add(claims: list[Claim[T]], field: str, text: str, value: T | None) -> None:
    if len(claims) >= MAX_CLAIMS:
        raise Malformed(f"it names more than {MAX_CLAIMS} resources")
    claims.append(Claim(field, text, value))


def _address_blocks(data: bytes, claims: list[Claim[Network]]) -> frozenset[Inheritable]:
    inherits: list[Inheritable] = []
    seen: list[bytes] = []
    for family in parts(decode(data), SEQUENCE):
        inner = parts(family, SEQUENCE)
        if len(inner) != 2 or inner[0][0] != OCTET_STRING or len(inner[0][1]) not in (2, 3):
            raise Malformed("an IPAddressFamily is not an address family and a choice")
        octets, choice = inner[0][1], inner[1]
        afi, safi = octets[:2], octets[2:]
        if afi not in _FAMILIES or safi not in (b"", _UNICAST):
            _add(claims, ADDRESS_BLOCKS, f"address family {octets.hex()}", None)
            continue
        if afi in seen:
            raise Malformed("an address family appears twice")
        seen.append(afi)
        if choice == _INHERIT:
            inherits.append(_FAMILIES[afi][0])
        else:
            _family(parts(choice, SEQUENCE), afi, claims)
    return frozenset(inherits)


def _family(blocks: Elements, afi: bytes, claims: list[Claim[Network]]) -> None:
    _, width, written, network = _FAMILIES[afi]
    for item in blocks:
        if item[0] == BIT_STRING:
            bits, length = _bits(item[1], width)
            low = bits << width - length
            _add(claims, ADDRESS_BLOCKS, f"{written(low)}/{length}", _plain(network((low, length))))
        else:
            low, high = _range(item, width)
            whole = f"{written(low)}-{written(high)}"
            for first, length in _prefixes(low, high, width):
                text = f"{whole} ({written(first)}/{length})"
                _add(claims, ADDRESS_BLOCKS, text, _plain(network((first, length))))


def _plain(block: Network) -> Network | None:
    return block if block.version == 4 or is_plain(block.network_address) else None


def _prefixes(low: int, high: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the prefixes of a range as first address and length, like ``ipaddress`` but faster."""
    while low <= high:
        aligned = (low & -low).bit_length() - 1 if low else width
        size = min(aligned, (high - low + 1).bit_length() - 1)
        yield low, width - size
        low += 1 << size


def _bits(content: bytes, width: int, *, or_ones: bool = False) -> tuple[int, int]:
    if len(content) > width // 8 + 1:
        raise Malformed("an address is longer than its family has bits")
    return bit_string(content, or_ones=or_ones)


def _range(item: Element, width: int) -> tuple[int, int]:
    """Return the first and the last address: DER omits trailing zeros of the one and trailing ones of the other."""
    first, last = parts(item, SEQUENCE, BIT_STRING, BIT_STRING)
    low, length = _bits(first[1], width)
    low <<= width - length
    high, length = _bits(last[1], width, or_ones=True)
    high = (high + 1 << width - length) - 1
    if low > high:
        raise Malformed("a range of addresses ends before it begins")
    return low, high


def _as_identifiers(data: bytes, claims: list[Claim[AsRange]]) -> frozenset[Inheritable]:
    inherits: frozenset[Inheritable] = frozenset()
    items = parts(decode(data), SEQUENCE)
    if [item[0] for item in items] not in ([], [_ASNUM], [_RDI], [_ASNUM, _RDI]):
        raise Malformed("it is not asnum, rdi or both")
    for tag, _, choice in items:
        if tag == _RDI:
            _add(claims, AS_IDENTIFIERS, "routing domain identifiers", None)
        elif len(choice) != 1:
            raise Malformed("asnum is not one choice")
        elif choice[0] == _INHERIT:
            inherits = frozenset({Inheritable.AS_NUMBER})
        else:
            _as_numbers(parts(choice[0], SEQUENCE), claims)
    return inherits


def _as_numbers(items: Elements, claims: list[Claim[AsRange]]) -> None:
    for item in items:
        if item[0] == INTEGER:
            low = high = _as_number(item[1])
        else:
            first, last = parts(item, SEQUENCE, INTEGER, INTEGER)
            low, high = _as_number(first[1]), _as_number(last[1])
            if low > high:
                raise Malformed("a range of AS numbers ends before it begins")
        found = AsRange(low, high)
        _add(claims, AS_IDENTIFIERS, str(found), found)


def _as_number(content: bytes) -> int:
    number = integer(content)
    if number > MAX_AS_NUMBER:
        raise Malformed("an AS number has more than 32 bits")
    return number
