"""DER, as much of it as names, RFC 3779 and the private extensions need, and strict (X.690).

Every length is definite, minimal and within its surroundings, every tag is one byte and compared whole, an
INTEGER is minimal, a BIT STRING's spare bits are zero. Nothing here recurses: a caller descends as deep as the
type it reads, whatever the bytes say.

An element is given by the octets it lies in and where: ``element(data, at, end)`` returns its tag and where its
content starts and stops. Everything raises ``Malformed`` for what is not so.
"""

from collections.abc import Iterator
from functools import lru_cache

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
IA5_STRING = 0x16
SEQUENCE = 0x30
SET = 0x31

_NAMES = {
    BOOLEAN: "BOOLEAN",
    INTEGER: "INTEGER",
    BIT_STRING: "BIT STRING",
    OCTET_STRING: "OCTET STRING",
    NULL: "NULL",
    OBJECT_IDENTIFIER: "OBJECT IDENTIFIER",
    IA5_STRING: "IA5String",
    SEQUENCE: "SEQUENCE",
    SET: "SET",
}

#: Octets of a length: no input is as long as four of them can say.
_MAX_LENGTH_OCTETS = 4


class Malformed(Exception):
    """The bytes are not what the type asks for; the text says what is wrong, in our words only."""


def element(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Return tag, start and stop of the content of the element that begins at ``at`` and must stop by ``end``."""
    if end - at < 2:
        raise Malformed("it ends within an element")
    tag, length = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise Malformed("a tag is longer than one byte")
    start = at + 2
    if length >= 0x80:
        octets = length & 0x7F
        if octets == 0:
            raise Malformed("a length is indefinite")
        if octets > _MAX_LENGTH_OCTETS or end - start < octets:
            raise Malformed("a length is longer than the bytes there are")
        length = int.from_bytes(data[start : start + octets])
        if length < 0x80 or data[start] == 0:
            raise Malformed("a length is not in its shortest form")
        start += octets
    if length > end - start:
        raise Malformed("an element is longer than what it lies in")
    return tag, start, start + length


def expect(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return start and stop of the content of an element that must have this tag."""
    if end - at >= 2 and data[at] == tag and data[at + 1] < 0x80:  # nearly always; `element` would say the same
        stop = at + 2 + data[at + 1]
        if stop <= end:
            return at + 2, stop
    found, start, stop = element(data, at, end)
    if found != tag:
        raise Malformed(f"tag {found:#04x} where {_NAMES.get(tag, f'tag {tag:#04x}')} is expected")
    return start, stop


def only(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return start and stop of the content of the one element between ``at`` and ``end``."""
    start, stop = expect(data, at, end, tag)
    if stop != end:
        raise Malformed(f"something follows {_NAMES.get(tag, f'tag {tag:#04x}')}")
    return start, stop


def elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield tag, start and stop of each element that lies between ``at`` and ``end``."""
    while at < end:
        tag, start, at = element(data, at, end)
        yield tag, start, at


def integer(data: bytes, start: int, stop: int) -> int:
    """Return the INTEGER of this content, which must not be negative."""
    if start == stop:
        raise Malformed("an INTEGER is empty")
    if data[start] & 0x80:
        raise Malformed("an INTEGER is negative")
    if stop - start > 1 and data[start] == 0 and not data[start + 1] & 0x80:
        raise Malformed("an INTEGER is not in its shortest form")
    return int.from_bytes(data[start:stop])


def boolean(data: bytes, start: int, stop: int) -> bool:
    """Return the BOOLEAN of this content."""
    content = data[start:stop]
    if content not in (b"\x00", b"\xff"):
        raise Malformed("a BOOLEAN is neither 00 nor ff")
    return content == b"\xff"


def bit_string(data: bytes, start: int, stop: int, *, or_ones: bool = False) -> tuple[int, int]:
    """Return the bits of this content as a number, and how many they are.

    ``or_ones``: the spare bits of the last octet may be all one instead of all zero.
    """
    if start == stop:
        raise Malformed("a BIT STRING is empty")
    spare = data[start]
    count = 8 * (stop - start - 1) - spare
    if spare > 7 or count < 0:
        raise Malformed("a BIT STRING has more spare bits than bits")
    octets = int.from_bytes(data[start + 1 : stop])
    mask = (1 << spare) - 1
    rest = octets & mask
    if rest and not (or_ones and rest == mask):
        raise Malformed("a BIT STRING's spare bits are not zero")
    return octets >> spare, count


@lru_cache(maxsize=256)
def object_identifier(content: bytes) -> str:
    """Return the OBJECT IDENTIFIER of this content as text with dots."""
    if not content or content[-1] & 0x80:
        raise Malformed("an OBJECT IDENTIFIER ends within a number")
    arcs: list[int] = []
    arc = 0
    for octet in content:
        if arc == 0 and octet == 0x80:
            raise Malformed("an OBJECT IDENTIFIER is not in its shortest form")
        if arc >= 1 << 121:
            raise Malformed("an OBJECT IDENTIFIER has a number of more than 128 bits")
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(number) for number in (first, arcs[0] - 40 * first, *arcs[1:]))
