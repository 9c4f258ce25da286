"""Changes to one field of a real certificate or CRL, so that every field has its turn however small it is.

``structured`` chooses among elements, and a certificate has a hundred for one serial number.
"""

from collections.abc import Callable, Sequence
from random import Random

from certificates import bits, integer, oid, sequence, tlv
from fuzz.mutate import blind, structured
from fuzz.seeds import Node, tree

Resign = Callable[[bytes], bytes]

_NUMBERS = (
    0,
    1,
    -1,
    -5,
    127,
    128,
    -128,
    -129,
    2**31,
    2**63,
    2**64,
    -(2**63),
    2**159,
    2**160,
    -(2**159),
    -(2**160),
    2**479 - 1,
)
_TIMES = (
    b"000101000000Z", b"491231235959Z", b"500101000000Z", b"991231235959Z", b"250229000000Z", b"250301120000",
    b"250301120000+0100", b"2503011200Z", b"00000101000000Z", b"00010101000000Z", b"99991231235959Z",
    b"20250301120000Z", b"20250301120000.5Z", b"20251301000000Z", b"20250301120060Z", b"20250301240000Z",
    b"", b"Z", b"\xff" * 13,
)  # fmt: skip
_ALGORITHMS = (
    "1.2.840.10045.4.3.2", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.113549.1.1.10", "1.3.101.112",
    "1.3.101.113", "2.16.840.1.101.3.4.3.17", "1.2.840.10045.2.1", "1.2.840.113549.1.1.1", "1.2.3.4", "2.999.1",
)  # fmt: skip
_VERSIONS = (
    b"",
    *(tlv(0xA0, integer(number)) for number in (-1, 0, 1, 2, 3, 2**70)),
    tlv(0xA0),
    tlv(0xA0, tlv(4, b"\2")),
)
#: Extensions that libraries know, each of which may have any content.
_ARCS = (9, 14, 15, 16, 17, 18, 19, 20, 21, 24, 27, 28, 29, 30, 31, 32, 33, 35, 36, 37, 46, 54)
_EXTENSIONS = (
    *(f"2.5.29.{arc}" for arc in _ARCS),
    "1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.1.3", "1.3.6.1.5.5.7.1.7", "1.3.6.1.5.5.7.1.8", "1.3.6.1.5.5.7.1.11",
    "1.3.6.1.5.5.7.1.24", "1.3.6.1.4.1.11129.2.4.2", "1.3.6.1.4.1.11129.2.4.3", "1.3.6.1.5.5.7.48.1.5",
    "1.3.6.1.4.1.31536.1.1", "1.3.6.1.4.1.31536.1.2", "1.3.6.1.4.1.311.20.2", "1.3.6.1.4.1.311.21.7",
)  # fmt: skip


def by_field(random: Random, document: bytes, pool: Sequence[Node], resign: Resign | None) -> bytes:
    """Return a certificate or CRL (DER) with one field of it changed; ``resign`` makes a signature for its content.

    Input that is no longer such a document is changed blindly.
    """
    whole = tree(document)
    if len(whole) != 1 or len(whole[0].children) != 3 or not whole[0].children[0].children:
        return blind(random, document, [b"\x30\x00"])
    inside, algorithm, signature = whole[0].children
    fields = [node.encoded for node in inside.children]
    place = random.randrange(len(fields) + 2)
    if place == len(fields):
        return sequence(inside.encoded, _algorithm(random), signature.encoded)
    if place > len(fields):
        return sequence(inside.encoded, algorithm.encoded, _bits(random, signature.content))
    fields[place] = _changed(random, inside.children[place], pool)
    content = sequence(*fields)
    return sequence(content, algorithm.encoded, bits(0, resign(content).hex()) if resign else signature.encoded)


def _changed(random: Random, node: Node, pool: Sequence[Node]) -> bytes:
    if node.tag == 0xA0 and random.random() < 0.7 and len(node.content) < 8:
        return random.choice(_VERSIONS)
    if node.tag == 0x02 and random.random() < 0.8:
        return _number(random)
    kinds = tuple(child.tag for child in node.children)
    if node.tag in (0x17, 0x18) or (kinds and set(kinds) <= {0x17, 0x18}):
        return _time(random) if not kinds else sequence(_time(random), _time(random))
    if kinds[:1] == (0x06,) and random.random() < 0.5:
        return _algorithm(random)
    if node.tag in (0xA0, 0xA3) and len(node.children) == 1 and random.random() < 0.6:
        return tlv(node.tag, _extensions(random, node.children[0], pool))
    return structured(random, (node,), pool)


def _number(random: Random) -> bytes:
    match random.randrange(4):
        case 0:
            return tlv(2, random.randbytes(random.choice((0, 1, 2, 8, 19, 20, 21, 22, 64, 130))))
        case 1:
            return tlv(2, random.choice((b"\0", b"\xff")) * random.randrange(1, 5) + random.randbytes(2))
        case _:
            return integer(random.choice(_NUMBERS))


def _time(random: Random) -> bytes:
    return tlv(random.choice((0x17, 0x18)), random.choice(_TIMES))


def _algorithm(random: Random) -> bytes:
    parameters = random.choice(
        (b"", b"\x05\x00", b"\x30\x00", tlv(0x30, random.randbytes(4)), oid("1.2.840.10045.3.1.7"))
    )
    return sequence(oid(random.choice(_ALGORITHMS)), parameters)


def _bits(random: Random, content: bytes) -> bytes:
    return tlv(3, random.choice((b"", b"\0", b"\7" + content, content[:-1], blind(random, content, [b"\0"]))))


def _extensions(random: Random, node: Node, pool: Sequence[Node]) -> bytes:
    """Return the extensions with one changed, added, or given another type or content."""
    found = [child.encoded for child in node.children]
    place = random.randrange(len(found) + 1)
    critical = random.choice((b"", b"\x01\x01\xff", b"\x01\x01\x00", b"\x01\x01\x01"))
    content = random.choice(
        (b"", b"\x30\x00", random.choice(pool).encoded, sequence(random.choice(pool).encoded), random.randbytes(6))
    )
    kind = random.choice(_EXTENSIONS)
    if place < len(found) and random.random() < 0.6:
        parts = node.children[place].children
        if len(parts) < 2:
            return node.encoded
        value = parts[-1]
        changed = tlv(4, structured(random, value.children, pool)) if value.children else tlv(4, content)
        found[place] = sequence(
            parts[0].encoded, random.choice((critical, *(part.encoded for part in parts[1:-1]))), changed
        )
    elif random.random() < 0.5:
        found.insert(place, sequence(oid(kind), critical, tlv(4, content)))
    elif place < len(found) and node.children[place].children:
        found[place] = sequence(oid(kind), critical, node.children[place].children[-1].encoded)
    return sequence(*found)
