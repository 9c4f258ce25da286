"""Text from outside, made safe for a terminal, a log line or a table: the one place for that.

An identity, a certificate, or an answer of a peer or another program may contain anything: escape sequences, line
feeds that make one line look like two, invisible characters, and those that reverse the direction of writing.
"""

import re
from typing import Any

#: Characters shown of one text in another program's answer.
LONGEST_VALUE = 1000
#: Letters by Unicode's categories, but invisible: fillers, joiners, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: str, longest: int | None = None) -> str:
    """Return text on one line; invisible characters are escaped as in Python (``\\x1b``, ``\\u202e``).

    Escaped are control characters (C0, C1, line ends and tabs too), format characters (zero-width, bidirectional),
    surrogates, undefined code points, and blanks other than the space. A text of more than ``longest``
    characters is cut, with an ellipsis.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable() and (text.isascii() or not _INVISIBLE.search(text)):
        return text
    return "".join([char if char.isprintable() and not _INVISIBLE.match(char) else _escaped(char) for char in text])


def printable_lines(text: str) -> str:
    """Return text of several lines, each made printable."""
    return "\n".join([printable(line) for line in text.split("\n")])


def printable_values(value: Any) -> Any:
    """Return a JSON value with all its texts and keys made printable and cut to ``LONGEST_VALUE``."""
    if isinstance(value, str):
        return printable(value, LONGEST_VALUE)
    if isinstance(value, dict):
        return {printable_values(key): printable_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable_values(item) for item in value]
    return value


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
