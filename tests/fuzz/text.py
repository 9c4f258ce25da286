"""Changes to what programs print: lines and words of text, values of JSON."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from fuzz.mutate import blind
from fuzz.seeds import TEXTS

WORDS = (
    "", "0", "-1", "4294967295", "4294967296", "9" * 40, "9" * 5000, "1.10", "1_0", "１", "any", "x", "::/0",
    "10.0.0.0/33", "fe80::1%\x1b[2J", "le", "seq", "permit", "neighbor", "router bgp", "\x1b[2J", "\u202e", "\x85",
    "\ud800",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 2**200, 1.5, float("inf"), float("nan"), "", "x", "-", "\x1b[2J", "\ud800", [], {},
    [[]], [None], {"x": {}}, "10.255.0.2", "fe80::1%x",
)  # fmt: skip


def text_changed(random: Random, text: str, others: Sequence[str]) -> str:
    """Return a text with some lines or words changed, or cut off, or damaged blindly."""
    if random.random() < 0.15:
        return text[: random.randrange(len(text) + 1)]
    if random.random() < 0.15:
        data = blind(random, text.encode(), [other.encode() for other in others])
        return data.decode(errors="replace")
    lines = text.split("\n")
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(lines))
        match random.randrange(5):
            case 0:
                del lines[place : place + random.choice((1, 1, 3))]
            case 1:
                lines.insert(place, random.choice(random.choice(others).split("\n")))
            case _:
                words = lines[place].split(" ")
                at = random.randrange(len(words))
                words[at : at + 1] = random.choices((*WORDS, *TEXTS), k=random.randrange(3))
                lines[place] = " ".join(words)
        lines = lines or [""]
    return "\n".join(lines)


def json_changed(random: Random, text: str, others: Sequence[str]) -> str:
    """Return a JSON document with some values changed, left out or doubled; or, as text, changed as such."""
    if random.random() < 0.25:
        return text_changed(random, text, others)
    value = json.loads(text)
    for _ in range(random.choice((1, 1, 2, 4))):
        value = _changed(random, value)
    if random.random() < 0.01:
        value = json.loads("[" * 400 + "]" * 400) if random.random() < 0.5 else {"table": value, "peers": value}
    return json.dumps(value)


def _changed(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        match random.randrange(8):
            case 0:
                return rest
            case 1:
                return {**rest, random.choice((*WORDS, *TEXTS)): value[key]}
            case _:
                return {**value, key: _changed(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        match random.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, value[at]]
            case _:
                return [*value[:at], _changed(random, value[at]), *value[at + 1 :]]
    return random.choice((*VALUES, *WORDS, random.choice(TEXTS)))
