"""A recorded VICI conversation: one JSON document a line, each a packet with its sender and time.

Values are text; values that are not text are written as ``base64:…``. Reading and writing keeps each byte.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmvpn_agent.charon.vici import Packet, PacketType, Section

_BINARY = "base64:"


@dataclass(frozen=True, slots=True)
class Line:
    """A packet; ``at``: seconds from the start; ``sender``: ``client`` or ``charon``."""

    at: float
    sender: str
    packet: Packet


def load(file: Path) -> tuple[Line, ...]:
    """Read a recorded conversation."""
    return tuple(_line(json.loads(text)) for text in file.read_text().splitlines())


def dump(lines: Iterable[Line]) -> str:
    """Return a conversation as the file stores it."""
    return "".join(json.dumps(_document(line), ensure_ascii=False) + "\n" for line in lines)


def _line(raw: dict[str, Any]) -> Line:
    packet = Packet(PacketType[raw["type"]], raw.get("name", ""), _section(raw.get("message", {})))
    return Line(raw["at"], raw["from"], packet)


def _document(line: Line) -> dict[str, Any]:
    document: dict[str, Any] = {"at": round(line.at, 3), "from": line.sender, "type": line.packet.type.name}
    if line.packet.name:
        document["name"] = line.packet.name
    if line.packet.message:
        document["message"] = _plain(line.packet.message)
    return document


def _section(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _section(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_section(inner) for inner in value]
    if value.startswith(_BINARY):
        return base64.b64decode(value.removeprefix(_BINARY))
    return value.encode()


def _plain(value: Section | list[bytes] | bytes | str) -> Any:
    if isinstance(value, bytes):
        text = value.decode(errors="replace")
        return text if text.isprintable() and "\ufffd" not in text else _BINARY + base64.b64encode(value).decode()
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return {key: _plain(inner) for key, inner in value.items()}
