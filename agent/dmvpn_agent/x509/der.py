"""A strict reader of the DER (X.690) that names, RFC 3779 and the private extensions need.

Every length must be definite, minimal and within the surrounding element, every tag one byte, every INTEGER minimal,
and the spare bits of a BIT STRING zero. Every function raises ``Malformed`` for other input.

``decode`` returns a tree of elements; the tag determines whether an element contains octets or elements. ``element``
and ``expect`` find an element without decoding its content.
"""

from functools import lru_cache

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
IA5_STRING = 0x16
SEQUENCE = 0x30
SET = 0x31

#: How deep elements may be nested; the deepest one that the agent needs, a range in IPAddrBlocks, is at five.
MAX_DEPTH = 10

#: Tag; content octets of a primitive element; elements within a constructed one.
Element = tuple[int, bytes, "Elements"]
Elements = list[Element]

#: Octets of a length; four are enough for any input.
_MAX_LENGTH_OCTETS = 4
_CONSTRUCTED = 0x20


class Malformed(Exception):
    """The bytes are not valid for the type; the text says why, and contains no input."""


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
        raise Malformed("an element is longer than the surrounding one")
    return tag, start, start + length


def expect(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Return start and stop of the content of the element at ``at``, which must have this tag."""
    found, start, stop = element(data, at, end)
    if found != tag:
        raise Malformed(f"found tag {found:#04x}, expected {tag:#04x}")
    return start, stop


def encoded(tag: int, *contents: bytes) -> bytes:
    """Return the encoding of an element with this tag and these contents in a row."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    octets = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def decode(data: bytes) -> Element:
    """Return the one element in ``data``."""
    elements = _decode(data, 0, len(data), MAX_DEPTH)
    if len(elements) != 1:
        raise Malformed("it is not one element")
    return elements[0]


def _decode(data: bytes, at: int, end: int, depth: int) -> Elements:
    if depth == 0:
        raise Malformed(f"elements are nested more than {MAX_DEPTH} deep")
    elements: Elements = []
    while at < end:
        start = at + 2
        # `element` gives the same for short elements, nearly all; but the call takes longer than all the rest.
        if start <= end and (stop := start + data[at + 1]) <= end and stop < start + 0x80 and data[at] & 0x1F != 0x1F:
            tag, at = data[at], stop
        else:
            tag, start, at = element(data, at, end)
        if tag & _CONSTRUCTED:
            elements.append((tag, b"", _decode(data, start, at, depth - 1)))
        else:
            elements.append((tag, data[start:at], []))
    return elements


def parts(element: Element, tag: int, *tags: int) -> Elements:
    """Return the elements within one that must have this tag; if ``tags`` are given, theirs must be these."""
    found, _, inner = element
    if found != tag:
        raise Malformed(f"found tag {found:#04x}, expected {tag:#04x}")
    if tags and tuple([item[0] for item in inner]) != tags:
        raise Malformed(f"the element with tag {tag:#04x} has unexpected parts")
    return inner


def integer(content: bytes) -> int:
    """Return the INTEGER with this content; it must not be negative."""
    if not content:
        raise Malformed("an INTEGER is empty")
    if content[0] & 0x80:
        raise Malformed("an INTEGER is negative")
    if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
        raise Malformed("an INTEGER is not in its shortest form")
    return int.from_bytes(content)


def bit_string(content: bytes, *, or_ones: bool = False) -> tuple[int, int]:
    """Return the bits of this content as a number, and their count.

    ``or_ones``: the spare bits of the last octet may also be all one.
    """
    if not content:
        raise Malformed("a BIT STRING is empty")
    spare = content[0]
    count = 8 * (len(content) - 1) - spare
    if spare > 7 or count < 0:
        raise Malformed("a BIT STRING has more spare bits than bits")
    octets = int.from_bytes(content[1:])
    mask = (1 << spare) - 1
    rest = octets & mask
    if rest and not (or_ones and rest == mask):
        raise Malformed("a BIT STRING's spare bits are not zero")
    return octets >> spare, count


@lru_cache(maxsize=256)
def object_identifier(content: bytes) -> str:
    """Return the OBJECT IDENTIFIER with this content in dotted form."""
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
