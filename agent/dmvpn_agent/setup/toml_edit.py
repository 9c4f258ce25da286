"""Edits a TOML file as text: lines that do not change stay as they are, with their comments and their order.

``tomllib`` finds where statements end and what their keys are; a caller compares the values of the result with those
that it wants, and so no form of TOML that this module does not know can be written wrongly.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

#: The keys that lead to a value.
Path = tuple[str, ...]

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=\s*")
_HEADER = re.compile(rf"\s*\[(\[?)\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*\]")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
#: What ends a value of several lines.
_CLOSING = ("]", "}", '"""', "'''")


@dataclass(frozen=True, slots=True)
class Statement:
    """Whole lines of a file: a header, a key with its value, or a blank line or comment.

    ``table``: of the section in which it stands, ``None`` in an array of tables. ``key``: the path below that, empty
    for other lines than a key's.
    """

    text: str
    table: Path | None
    key: Path = ()
    is_header: bool = False

    @property
    def path(self) -> Path:
        """Return the path of a key's value from the root; empty if it has none."""
        return () if self.table is None or not self.key else (*self.table, *self.key)


def leaves(values: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each value that is no table, with its path. An array of tables is one value."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def dotted(path: Path) -> str:
    """Return a path as TOML spells it."""
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in path)


def value_text(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{dotted((key,))} = {value_text(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return str(value)


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a valid file in order; their texts make the file."""
    table: Path | None = ()
    rest = iter(_LINE.findall(text))
    for line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            yield Statement(line, table)
        elif header := _HEADER.match(line):
            table = None if header[1] or (table is None and _is_below(header[2], text)) else _path(header[2])
            yield Statement(line, table, is_header=True)
        else:
            whole = _whole(line, rest)
            key = _KEY.match(whole)
            yield Statement(whole, table, _path(key[1]) if key else ())


def _is_below(name: str, text: str) -> bool:
    """Tell whether a header stands for a part of an array's last table."""
    arrays = {_path(found[1]) for found in re.finditer(rf"^\s*\[\[\s*({_NAME}(?:\s*\.\s*{_NAME})*)", text, re.M)}
    path = _path(name)
    return any(path[:length] in arrays for length in range(1, len(path)))


def _path(name: str) -> Path:
    found, keys = tomllib.loads(f"{name} = 0"), []
    value: Any = found
    while isinstance(value, dict):
        (key,) = value
        keys.append(key)
        value = value[key]
    return tuple(keys)


def _whole(line: str, rest: Iterator[str]) -> str:
    """Return a statement that begins with a line, with the further lines that it takes."""
    if _parses(line):
        return line
    for more in rest:
        line += more
        if any(end in more for end in _CLOSING) and _parses(line):
            break
    return line


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


def edited(text: str, removed: Iterable[Path], written: Mapping[Path, Any], comments: Mapping[Path, str]) -> str:
    """Return a file without some values, and with others. ``comments``: those of lines that are added.

    Parts of the file that TOML allows and this function does not know come out unchanged, or make it invalid.
    """
    found = list(statements(text))
    for path in removed:
        found = _without(found, path)
    for path, value in written.items():
        found = _with(found, path, value, comments.get(path, ""))
    return "".join(one.text for one in found)


def _without(found: Sequence[Statement], path: Path) -> list[Statement]:
    if inline := _inline(found, path):
        number, value, inside = inline
        _set(value, inside, None)
        return _replaced(found, number, _changed(found[number], value))
    left = [one for one in found if one.path != path]
    table = path[:-1]
    alone = not any(one.table == table and one.key for one in left)
    return [one for one in left if not (alone and one.is_header and one.table == table and table)]


def _with(found: list[Statement], path: Path, value: Any, comment: str) -> list[Statement]:
    for number, one in enumerate(found):
        if one.path == path:
            return _replaced(found, number, _changed(one, value))
    if inline := _inline(found, path):
        number, whole, inside = inline
        _set(whole, inside, value)
        return _replaced(found, number, _changed(found[number], whole))
    return _added(found, path, value, comment)


def _inline(found: Sequence[Statement], path: Path) -> tuple[int, dict[str, Any], Path] | None:
    """Return the statement whose inline table a path leads into, its value, and the rest of the path."""
    for number, one in enumerate(found):
        length = len(one.path)
        if 0 < length < len(path) and one.path == path[:length]:
            value = tomllib.loads(one.text)
            for key in one.key:
                value = value[key]
            if isinstance(value, dict):
                return number, value, path[length:]
    return None


def _set(values: dict[str, Any], path: Path, value: Any) -> None:
    *above, last = path
    for key in above:
        values = values.setdefault(key, {})
    if value is None:
        values.pop(last, None)
    else:
        values[last] = value


def _changed(one: Statement, value: Any) -> Statement:
    """Return a statement with another value, and its own comment."""
    key = _KEY.match(one.text)
    before, comment = (key[0] if key else "", _comment(one.text))
    text = f"{before}{value_text(value)}"
    gap = " " * max(1, len(one.text) - len(comment.lstrip()) - 1 - len(text)) if comment else ""
    return replace(one, text=f"{text}{gap}{comment}\n")


def _comment(text: str) -> str:
    """Return the comment at the end of a statement."""
    value, text = tomllib.loads(text), text.rstrip("\n")
    for number in (at.start() for at in re.finditer("#", text)):
        if _parses(text[:number]) and tomllib.loads(text[:number]) == value:
            return text[number:].rstrip()
    return ""


def _added(found: list[Statement], path: Path, value: Any, comment: str) -> list[Statement]:
    """Return the statements with one more, after the last one of its table; or in a section at the end."""
    table = path[:-1]
    beside = [number for number, one in enumerate(found) if one.path and one.path[:-1] == table]
    headers = [number for number, one in enumerate(found) if one.is_header and one.table == table]
    section = found[beside[-1]].table if beside else table
    new = _new(section or (), path[len(section or ()) :], value, comment)
    if beside or headers or not table:
        place = max(beside or headers) + 1 if beside or headers else _root_end(found)
        before = [*found[: place - 1], _ended(found[place - 1])] if place else []
        return [*before, new, *found[place:]]
    before = [*found[:-1], _ended(found[-1])] if found else []
    return [*before, Statement("\n", table), Statement(f"[{dotted(table)}]\n", table, is_header=True), new]


def _new(table: Path, key: Path, value: Any, comment: str) -> Statement:
    line = f"{dotted(key)} = {value_text(value)}"
    gap = " " * max(1, 48 - len(line)) if comment else ""
    return Statement(f"{line}{gap}{comment}\n", table, key)


def _root_end(found: Sequence[Statement]) -> int:
    """Return where a first key of the root goes: before the first header."""
    return next((number for number, one in enumerate(found) if one.is_header), len(found))


def _ended(one: Statement) -> Statement:
    return one if one.text.endswith("\n") else replace(one, text=f"{one.text}\n")


def _replaced(found: Sequence[Statement], number: int, one: Statement) -> list[Statement]:
    return [*found[:number], one, *found[number + 1 :]]


def comments_of(text: str) -> dict[Path, str]:
    """Return the comment of each key that has one on its line."""
    return {one.path: comment for one in statements(text) if one.path and (comment := _comment(one.text))}
