"""VICI, strongSwan's control protocol: packets to bytes and back, for either side of the connection.

A packet is a four-byte length, a type, for some types a name, and a message of sections, lists and values
(strongSwan ``src/libcharon/plugins/vici/README.md``). Messages are written by the package ``vici`` (its ``Message``).
Its ``Packet`` has only a client's side; the bridge is charon's side too, and reads requests and writes events. Its
``Message`` reads six times slower than can be, which is most of what a look at a thousand SAs would cost. So type and
name are coded here, and messages read; a test holds all of it to what ``vici.protocol`` makes and reads.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from vici.protocol import Message

#: charon drops longer ones.
MAX_PACKET = 512 * 1024

#: Sections within sections. charon and nhrpd have three or four; what is much deeper could be read, and not written.
MAX_DEPTH = 32

#: A value's length is written in 16 bits.
MAX_VALUE = 0xFFFF

#: Values of a message are bytes, lists of bytes or sections; when encoding, text and numbers too.
Section = Mapping[str, Any]


class ViciError(Exception):
    """What came is not VICI; the connection is of no further use."""


class PacketType(IntEnum):
    """Types of packet; the first three and their direction as README.md has them."""

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
    """One packet; ``name`` is a command's or an event's, empty for types that have none."""

    type: PacketType
    name: str = ""
    message: Section = field(default_factory=dict)


def encode(packet: Packet) -> bytes:
    """Return a packet's bytes. Raises ``ViciError`` where something does not fit its length field (``MAX_VALUE``)."""
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
        """Return the bytes of the packet that is not complete yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that are complete now. Raises ``ViciError``."""
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from("!I", self._buffer)
            if length > MAX_PACKET:
                raise ViciError(f"a packet of {length} bytes is announced, more than {MAX_PACKET}")
            if len(self._buffer) < 4 + length:
                return
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            yield decode(body)


def decode(body: bytes) -> Packet:
    """Read one packet, without its length. Raises ``ViciError``."""
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


def _message(body: bytes, place: int) -> Section:
    """Read the message from a place to the end. Raises ``ViciError``, ``IndexError``, ``ValueError``."""
    section: dict[str, Any] = {}
    above: list[dict[str, Any]] = []
    while place < len(body):
        element = body[place]
        if element == Message.SECTION_END:
            section = above.pop()
            place += 1
            continue
        end = place + 2 + body[place + 1]
        name = body[place + 2 : end].decode()
        if element == Message.KEY_VALUE:
            section[name], place = _value(body, end)
        elif element == Message.SECTION_START:
            if len(above) >= MAX_DEPTH:
                raise ViciError(f"a message has sections more than {MAX_DEPTH} deep in one another")
            above.append(section)
            section[name] = section = {}
            place = end
        elif element == Message.LIST_START:
            section[name], place = _list(body, end)
        else:
            raise ViciError(f"a message has an element of the unknown type {element}")
    if place > len(body) or above:
        raise ViciError("a message ends within an element")
    return section


def _value(body: bytes, place: int) -> tuple[bytes, int]:
    """Return the value at a place, and where it ends: beyond the message, where it is cut off."""
    start = place + 2
    end = start + (body[place] << 8 | body[place + 1])
    return body[start:end], end


def _list(body: bytes, place: int) -> tuple[list[bytes], int]:
    items = []
    while body[place] == Message.LIST_ITEM:
        item, place = _value(body, place + 1)
        items.append(item)
    if body[place] != Message.LIST_END:
        raise ViciError("a list has something else than items")
    return items, place + 1


def text(section: Section, key: str) -> str:
    """Return a value as text; empty where it is missing or no value. Bytes that are no UTF-8 are replaced."""
    value = section.get(key, b"")
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def number(section: Section, key: str) -> int:
    """Return a value as a number, at most 64 bits long. Raises ``ViciError`` where it is missing or not one."""
    value = text(section, key)
    if not (value.isdecimal() and len(value) <= 20):
        raise ViciError(f"{key} is {value[:40]!r}, not a number")
    return int(value)


def count(section: Section, key: str) -> int:
    """Return a value as a number, 0 where it is missing. Raises ``ViciError`` where it is not one."""
    return number(section, key) if key in section else 0


def sections(section: Section) -> Iterator[tuple[str, Section]]:
    """Yield the sections within a section by name."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield key, value
