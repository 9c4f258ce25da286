"""Changes to valid input: blind ones to its bytes, and ones to the elements of DER that keep the rest well-formed."""

from collections.abc import Sequence
from random import Random

from certificates import tlv
from fuzz.seeds import TEXTS, Node

STRINGS = (0x0C, 0x13, 0x14, 0x16, 0x1E)
TAGS = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E, 0x1F, 0x23, 0x30, 0x31, 0x80, 0x82,
        0x87, 0xA0, 0xA1, 0xA3, 0xFF)  # fmt: skip
OCTETS = (0x00, 0x01, 0x02, 0x05, 0x07, 0x08, 0x0A, 0x20, 0x30, 0x3D, 0x7F, 0x80, 0x81, 0x84, 0xFF)
#: Once in a while an element is repeated until the input is about as large as any that is read.
LARGE, ONE_IN = 60_000, 3000


def blind(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Return the data with one change somewhere."""
    at = random.randrange(len(data) + 1)
    end = min(at + random.choice((1, 1, 1, 2, 4, 16, 100)), len(data))
    match random.randrange(8):
        case 0 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + bytes([random.choice(OCTETS)]) + data[at + 1 :]
        case 2:
            return data[:at] + random.randbytes(end - at) + data[end:]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:at] + bytes(random.choices(OCTETS, k=random.randrange(1, 5))) + data[at:]
        case 5:
            return data[:end] + data[at:end] * random.randrange(1, 4) + data[end:]
        case 6:
            return data[:at]
        case _:
            other = random.choice(others)
            return data[:at] + other[random.randrange(len(other) + 1) :]


def structured(random: Random, nodes: tuple[Node, ...], pool: Sequence[Node]) -> bytes:
    """Return the encoding of elements of which one, anywhere within them, is changed; lengths around it fit."""
    place = random.choices(range(len(nodes)), [node.size for node in nodes])[0]
    node = nodes[place]
    if node.children and random.randrange(node.size):
        changed = tlv(node.tag, structured(random, node.children, pool))
    else:
        changed = _changed(random, node, pool)
    return b"".join(
        [*(other.encoded for other in nodes[:place]), changed, *(other.encoded for other in nodes[place + 1 :])]
    )


def _changed(random: Random, node: Node, pool: Sequence[Node]) -> bytes:
    if node.tag in STRINGS and random.random() < 0.7:
        return _text(random, node)
    match random.randrange(9):
        case 0:
            return tlv(random.choice(TAGS), node.content)
        case 1:
            return tlv(node.tag, blind(random, node.content, [b"\x00"]))
        case 2:
            return b""
        case 3:
            return node.encoded * random.choice((2, 2, 2, 3, 40))
        case 4:
            return node.encoded * (LARGE // len(node.encoded) if random.randrange(ONE_IN) == 0 else 2)
        case 5:
            return random.choice(pool).encoded
        case 6:
            return tlv(random.choice(TAGS), node.encoded)
        case 7:
            return node.encoded + random.choice(pool).encoded
        case _:
            return _wrong_length(random, node)


def _wrong_length(random: Random, node: Node) -> bytes:
    size = len(node.content)
    lengths = (
        b"\x80",  # indefinite
        bytes([0x82]) + size.to_bytes(2) if size < 0x100 else bytes([0x84]) + size.to_bytes(4),
        bytes([max(size - 1, 0) & 0x7F]),
        bytes([size + 1 & 0x7F]),
        b"\x84\xff\xff\xff\xff",
        b"\x84\x7f\xff\xff\xff",
        b"\x88" + b"\xff" * 8,
        b"\xff",
    )
    return bytes([node.tag]) + random.choice(lengths) + node.content + random.choice((b"", b"\x00\x00"))


def _text(random: Random, node: Node) -> bytes:
    """Another text in place of this one, or this one with a character changed; perhaps as another kind of string."""
    text = random.choice(TEXTS) if random.random() < 0.5 else _edited(random, node.content.decode("latin-1"))
    tag = node.tag if random.random() < 0.7 else random.choice(STRINGS)
    encoding = "utf-16-be" if tag == 0x1E else random.choice(("utf-8", "utf-8", "utf-8", "latin-1", "utf-16-be"))
    return tlv(tag, text.encode(encoding, errors="replace"))


def text(random: Random, valid: Sequence[str]) -> str:
    """Return a text for an attribute: valid, or one that looks valid, or valid but for one character."""
    chosen = random.choice(valid)
    return random.choice((chosen, chosen, random.choice(TEXTS), _edited(random, chosen)))


def _edited(random: Random, text: str) -> str:
    at = random.randrange(len(text) + 1)
    new = random.choice(("", " ", "0", "9", ".", ":", "/", "=", "%", "-", "+", "\x00", "\n", "\x1b", "２", "٣", "Е"))
    return text[:at] + new + text[at + random.randrange(2) :]
