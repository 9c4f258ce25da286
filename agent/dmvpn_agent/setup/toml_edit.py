"""Edits a TOML file as text: lines that do not change stay as they are, with their comments and their order.

``tomllib`` reads the keys. The caller compares the values of the result with those that it wants: an unknown form of
TOML is refused, and never written wrongly.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dmvpn_agent.setup.toml_tokens import array_with, comment_of_value, comments_inside, end_of_value

#: The keys that lead to a value.
Path = tuple[str, ...]

_NAME = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=\s*")
_HEADER = re.compile(rf"\s*\[(\[?)\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*\]")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


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
    arrays: set[Path] = set()
    place = 0
    while place < len(text):
        end = text.find("\n", place) + 1 or len(text)
        line = text[place:end]
        if not line.strip() or line.lstrip().startswith("#"):
            yield Statement(line, table)
        elif header := _HEADER.match(line):
            path = _path(header[2])
            if header[1]:
                arrays.add(path)
            table = None if any(path[:length] in arrays for length in range(1, len(path) + 1)) else path
            yield Statement(line, table, is_header=True)
        else:
            key = _KEY.match(line)
            end = end_of_value(text, place + key.end()) if key else end
            yield Statement(text[place:end], table, _path(key[1]) if key else ())
        place = end


def _path(name: str) -> Path:
    found, keys = tomllib.loads(f"{name} = 0"), []
    value: Any = found
    while isinstance(value, dict):
        (key,) = value
        keys.append(key)
        value = value[key]
    return tuple(keys)


def edited(text: str, removed: Iterable[Path], written: Mapping[Path, Any], comments: Mapping[Path, str]) -> str:
    """Return a file without some values, and with others. ``comments``: those of lines that are added.

    Parts of the file that TOML allows and this function does not know come out unchanged, or make it invalid. A file
    whose lines all end in CR LF stays one.
    """
    has_crlf = "\r\n" in text and text.count("\n") == text.count("\r\n")
    found = list(statements(text.replace("\r\n", "\n") if has_crlf else text))
    for path in removed:
        found = _without(found, path)
    for path, value in written.items():
        found = _with(found, path, value, comments.get(path, ""))
    result = "".join(one.text for one in found)
    return result.replace("\n", "\r\n") if has_crlf else result


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
    """Return a statement with another value, and its own comments."""
    key = _KEY.match(one.text)
    before = key[0] if key else ""
    comment, old = comment_of_value(one.text, len(before)), one.text[len(before) :]
    if isinstance(value, list) and old.startswith("[") and "\n" in old.rstrip("\n"):
        text = array_with(_ended(replace(one, text=old)).text, value, value_text)
        if text is not None:
            return replace(one, text=before + text)
    text = f"{before}{value_text(value)}"
    gap = " " * max(1, len(one.text) - len(comment.lstrip()) - 1 - len(text)) if comment else ""
    inside = "".join(f"{line}\n" for line in comments_inside(one.text, len(before)))
    return replace(one, text=f"{inside}{text}{gap}{comment}\n")


def _added(found: list[Statement], path: Path, value: Any, comment: str) -> list[Statement]:
    """Return the statements with one more, after the last one of its table; or in a section at the end."""
    table = path[:-1]
    beside = [number for number, one in enumerate(found) if one.path and _is_beside(one, table)]
    headers = [number for number, one in enumerate(found) if one.is_header and one.table == table]
    section = found[beside[-1]].table if beside else table
    new = _new(section or (), path[len(section or ()) :], value, comment)
    if beside or headers or not table:
        place = max(beside or headers) + 1 if beside or headers else _root_end(found)
        before = [*found[: place - 1], _ended(found[place - 1])] if place else []
        return [*before, new, *found[place:]]
    before = [*found[:-1], _ended(found[-1])] if found else []
    return [*before, Statement("\n", table), Statement(f"[{dotted(table)}]\n", table, is_header=True), new]


def _is_beside(one: Statement, table: Path) -> bool:
    """Tell whether a key is of a table, or makes that table by dots, so that it may have no header."""
    by_dots = len(one.table or ()) < len(table) < len(one.path) and one.path[: len(table)] == table
    return one.path[:-1] == table or by_dots


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
    found = ((one.path, _KEY.match(one.text), one.text) for one in statements(text) if one.path)
    return {path: comment for path, key, text in found if key and (comment := comment_of_value(text, key.end()))}
