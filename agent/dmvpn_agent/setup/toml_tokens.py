"""Where values, comments and the entries of an array stand in the text of a valid TOML file."""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r'''(?P<string>"""(?:[^\\]|\\.)*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:'{0,2})|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')'''
    r"""|(?P<comment>\#[^\n]*)|(?P<open>[\[{])|(?P<close>[\]}])|(?P<comma>,)|(?P<end>\n)|(?P<space>[^\S\n]+)"""
    r"""|(?P<bare>[^\s,\[\]{}"'#]+)""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a value. ``depth``: of the brackets around it; an opening or closing one counts as outside."""

    kind: str
    start: int
    end: int
    depth: int


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """Yield the tokens from a place to the end, or to the first character that begins none."""
    depth = 0
    while found := _TOKEN.match(text, start):
        kind = found.lastgroup or ""
        depth -= kind == "close"
        yield Token(kind, start, found.end(), depth)
        depth += kind == "open"
        start = found.end()


def end_of_value(text: str, start: int) -> int:
    """Return where the line ends on which a value ends."""
    return next((one.end for one in tokens(text, start) if one.kind == "end" and not one.depth), len(text))


def comment_of_value(text: str, start: int) -> str:
    """Return the comment behind a value; empty if there is none."""
    found = (text[one.start : one.end] for one in tokens(text, start) if one.kind == "comment" and not one.depth)
    return next(found, "").rstrip()


def comments_inside(text: str, start: int) -> Iterator[str]:
    """Yield the comments between the brackets of a value."""
    for one in tokens(text, start):
        if one.kind == "comment" and one.depth:
            yield text[one.start : one.end].rstrip()


@dataclass
class _Entry:
    start: int
    end: int
    comma: int = 0


def array_with(text: str, value: list[Any], spelled: Callable[[Any], str]) -> str | None:
    """Return an array of several lines, and what follows it, with other entries: those that stay keep their lines,
    and every comment stays. ``None`` if that cannot be done. ``spelled``: an entry as TOML.
    """
    entries, closing = _entries(text)
    old = tomllib.loads(f"x = {text}")["x"]
    stays = [one in value for one in old]
    kept = [one for one, stay in zip(old, stays, strict=True) if stay]
    if kept != value[: len(kept)]:
        stays, kept = [False] * len(old), []
    if not closing or len(entries) != len(old):
        return None
    added = list(map(spelled, value[len(kept) :]))
    line = text.rfind("\n", 0, closing) + 1
    if text[line:closing].strip():
        text = _spliced(text, closing, closing, " " + ", ".join(added) if added else "")
    else:
        indent = _indent(text, entries)
        text = _spliced(text, line, line, "".join(f"{indent}{one},\n" for one in added))
    needs_comma = bool(added)
    for entry, stay in zip(reversed(entries), reversed(stays), strict=True):
        if not stay:
            end = entry.comma or entry.end
            if "#" in text[entry.end : end]:  # a comment stands before the comma
                text, end = _spliced(text, end - 1, end, ""), entry.end
            text = _spliced(text, *_with_line(text, entry.start, end), "")
        elif needs_comma and not entry.comma:
            text = _spliced(text, entry.end, entry.end, ",")
        needs_comma &= not stay
    return text


def _entries(text: str) -> tuple[list[_Entry], int]:
    """Return the entries of the array at the begin of a text, and where its closing bracket is."""
    entries: list[_Entry] = []
    inside = False
    for one in tokens(text):
        if one.kind == "close" and not one.depth:
            return entries, one.start
        if one.kind == "comma" and one.depth == 1:
            entries[-1].comma, inside = one.end, False
        elif one.start and one.kind not in {"space", "end", "comment", "comma"}:
            if inside:
                entries[-1].end = one.end
            else:
                entries.append(_Entry(one.start, one.end))
                inside = True
    return [], 0


def _indent(text: str, entries: list[_Entry]) -> str:
    if not entries:
        return "  "
    before = text[text.rfind("\n", 0, entries[0].start) + 1 : entries[0].start]
    return "  " if before.strip() else before


def _with_line(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the whole line of an entry that is alone on it, otherwise the entry with the space behind it."""
    line, after = text.rfind("\n", 0, start) + 1, end
    while text[after] in " \t":
        after += 1
    if text[after] == "\n" and line and not text[line:start].strip():
        return line, after + 1
    return start, end if text[after] in "#\n]" else after


def _spliced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]
