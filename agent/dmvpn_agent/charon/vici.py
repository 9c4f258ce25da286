"""VICI, strongSwan's control protocol: encodes and decodes packets, for both sides of the connection.

A packet is a four-byte length, a type, for some types a name, and a message of sections, lists and values
(strongSwan ``src/libcharon/plugins/vici/README.md``). The package ``vici`` writes the messages (its ``Message``).
Its ``Packet`` covers the client's side only, and the bridge needs charon's side too: it reads requests and writes
events. Its ``Message`` reads six times slower than this module, which would be most of the cost of listing a thousand
SAs. A test compares this module with ``vici.protocol``.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Any

from vici.protocol import Message

#: charon drops longer ones.
MAX_PACKET = 512 * 1024

#: Nested sections. charon and nhrpd use three or four; much deeper ones could be read but not written.
MAX_DEPTH = 32

#: A value's length is written in 16 bits.
MAX_VALUE = 0xFFFF

#: Values of a message are bytes, lists of bytes or sections; when encoding, text and numbers too.
Section = Mapping[str, Any]


class ViciError(Exception):
    """A packet or message is malformed."""


class PacketType(IntEnum):
    """Types of packet, as README.md lists them."""

    CMD_REQUEST = 0
    CMD_RESPONSE = 1
    CMD_UNKNOWN = 2
    EVENT_REGISTER = 3
    EVENT_UNREGISTER = 4
    EVENT_CONFIRM = 5
    EVENT_UNKNOWN = 6
    EVENT = 7


_NAMED = frozenset({PacketType.CMD_REQUEST, PacketType.EVENT_REGISTER, PacketType.EVENT_UNREGISTER, PacketType.EVENT})


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet; ``name`` is that of the command or event, empty for types that have none."""

    type: PacketType
    name: str = ""
    message: Section = field(default_factory=dict)


def encode(packet: Packet) -> bytes:
    """Return a packet's bytes. Raises ``ViciError`` if an element does not fit its length field (``MAX_VALUE``)."""
    try:
        head = struct.pack("!B", packet.type)
        if packet.type in _NAMED:
            name = packet.name.encode()
            head += struct.pack("!B", len(name)) + name
        body: bytes = head + Message.serialize(packet.message)
    except struct.error as error:
        raise ViciError(f"packet {packet.name} does not fit: {error}") from error
    if len(body) > MAX_PACKET:
        raise ViciError(f"packet {packet.name} is {len(body)} bytes long, more than {MAX_PACKET}")
    return struct.pack("!I", len(body)) + body


class PacketReader:
    """Splits a byte stream into packets; holds at most one unfinished packet."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """Return the bytes of the incomplete packet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that these bytes complete. Raises ``ViciError``."""
        return map(decode, self.feed_bodies(data))

    def feed_bodies(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``decode`` reads, for each packet that these bytes complete. Raises ``ViciError``."""
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from("!I", self._buffer)
            if length > MAX_PACKET:
                raise ViciError(f"a packet of {length} bytes is announced, more than {MAX_PACKET}")
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield body


def decode(body: bytes) -> Packet:
    """Read a packet, without its length. Raises ``ViciError``."""
    try:
        kind = PacketType(body[0])
        place, name = 1, ""
        if kind in _NAMED:
            place = 2 + body[1]
            if len(body) < place:
                raise ViciError("a packet ends within its name")
            name = body[2:place].decode()
        return Packet(kind, name, _message(body, place))
    except (IndexError, ValueError) as error:
        raise ViciError(f"a packet cannot be read: {error}") from error


# A thousand SAs have the same few dozen names: each is held once, with its hash.
_name = lru_cache(maxsize=512)(bytes.decode)
_KEY_VALUE, _SECTION_START = int(Message.KEY_VALUE), int(Message.SECTION_START)
_SECTION_END, _LIST_START = int(Message.SECTION_END), int(Message.LIST_START)


def _message(body: bytes, place: int) -> Section:
    """Read the message from ``place`` to the end. Raises ``ViciError``, ``IndexError``, ``ValueError``."""
    section: dict[str, Any] = {}
    above: list[dict[str, Any]] = []
    size = len(body)
    while place < size:
        element = body[place]
        if element == _SECTION_END:
            section = above.pop()
            place += 1
            continue
        end = place + 2 + body[place + 1]
        name = _name(body[place + 2 : end])
        if element == _KEY_VALUE:  # as ``_value`` does; most elements are values
            start = end + 2
            place = start + (body[end] << 8 | body[end + 1])
            section[name] = body[start:place]
        elif element == _SECTION_START:
            if len(above) >= MAX_DEPTH:
                raise ViciError(f"a message has sections nested more than {MAX_DEPTH} deep")
            above.append(section)
            section[name] = section = {}
            place = end
        elif element == _LIST_START:
            section[name], place = _list(body, end)
        else:
            raise ViciError(f"a message has an element of the unknown type {element}")
    if place > size or above:
        raise ViciError("a message ends within an element")
    return section


def _value(body: bytes, place: int) -> tuple[bytes, int]:
    """Return the value at ``place``, and its end, which lies beyond the message if the value is cut off."""
    start = place + 2
    end = start + (body[place] << 8 | body[place + 1])
    return body[start:end], end


def _list(body: bytes, place: int) -> tuple[list[bytes], int]:
    items = []
    while body[place] == Message.LIST_ITEM:
        item, place = _value(body, place + 1)
        items.append(item)
    if body[place] != Message.LIST_END:
        raise ViciError("a list contains an element that is no item")
    return items, place + 1


def text(section: Section, key: str) -> str:
    """Return a value as text; empty if it is missing or a section. Bytes that are not UTF-8 are replaced."""
    value = section.get(key)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def number(section: Section, key: str) -> int:
    """Return a value as a number of at most 20 digits. Raises ``ViciError`` if it is missing or not a number."""
    value = section.get(key)
    if not (isinstance(value, bytes) and value.isdigit() and len(value) <= 20):
        raise ViciError(f"{key} is {text(section, key)[:40]!r}, not a number")
    return int(value)


def count(section: Section, key: str) -> int:
    """Return a value as a number, 0 if it is missing. Raises ``ViciError`` if it is not a number."""
    return number(section, key) if key in section else 0


def sections(section: Section) -> Iterator[tuple[str, Section]]:
    """Yield the sections within a section by name."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield key, value
