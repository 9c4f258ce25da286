"""Output of the commands: the one way to standard output and standard error, safe for a terminal.

Certificates, identities, file names and answers of other programs may contain anything. None of it may act on the
terminal, or look like a line of this program.

Not by rich: it would add a third to the 0.08 s and 6.5 MB to the memory of `dmvpn-agent status`, which somebody waits
for while the node is overloaded, and it takes brackets in a name for its markup.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from dmvpn_agent.runtime.document import Code, Document, document, failure
from dmvpn_agent.runtime.printable import printable, printable_lines


class OutputError(Exception):
    """Standard output cannot be written, though something reads it."""


def say(text: str) -> None:
    """Print text of several lines to standard output."""
    _write(sys.stdout, printable_lines(text))


def say_file(text: str) -> None:
    """Print a file that comes with this program to standard output, as it is: a shell script keeps its tabs."""
    _write(sys.stdout, text)


#: Marks in a text for ``say_painted``: what follows is in this color. They are private-use characters, which
#: ``printable`` escapes, so that no text from outside contains one.
RED, GREEN, YELLOW, BOLD, PLAIN = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004"
_SEQUENCES = {RED: "31", GREEN: "32", YELLOW: "33", BOLD: "1", PLAIN: "0"}
_MARKS = re.compile(f"([{RED}-{PLAIN}])")


def say_painted(text: str, *, colors: bool) -> None:
    """Print text of several lines with marks to standard output."""
    _write(sys.stdout, painted(text, colors=colors))


def painted(text: str, *, colors: bool) -> str:
    """Return text of several lines with its marks as a terminal's colors; without ``colors`` they are left out."""
    return "".join(
        (f"\x1b[{_SEQUENCES[part]}m" if colors else "") if part in _SEQUENCES else printable_lines(part)
        for part in _MARKS.split(text)
    )


def clear_screen() -> None:
    """Clear the terminal, if standard output is one."""
    if sys.stdout.isatty():
        _write(sys.stdout, "\x1b[H\x1b[2J\x1b[3J")


def wants_colors(*, refused: bool) -> bool:
    """Tell whether standard output is a terminal that shows colors, and they are not turned off (no-color.org)."""
    return sys.stdout.isatty() and not refused and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int | None:
    """Return the columns of the terminal; ``None`` if standard output is none, where nothing is to be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output, each on exactly one line; print nothing if there are none."""
    if shown := [printable(line) for line in lines]:
        _write(sys.stdout, "\n".join(shown))


def say_json(schema: str, data: Any) -> None:
    """Print one JSON document with data; ``schema``: the name and version of its form."""
    say_document(document(schema, data))


def say_document(found: Document) -> None:
    """Print one JSON document."""
    _write(sys.stdout, json.dumps(found, indent=2, default=str))


def report_failure(code: Code, message: str, as_json: bool) -> None:
    """Print why a command failed: as a document to standard output, or as a line to standard error."""
    if as_json:
        say_document(failure("error/1", code, message))
    else:
        complain(f"dmvpn-agent: {message}")


def say_usage(text: str) -> None:
    """Print a usage line to standard error; without a reader it is lost."""
    try:
        _write(sys.stderr, printable_lines(text.rstrip()))
    except OSError:
        discard(sys.stderr)


def complain(text: str) -> None:
    """Print one line to standard error. Without a reader it is lost: the exit status tells the outcome too."""
    try:
        _write(sys.stderr, printable(text))
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Discard what is left in a stream without a reader: from Python 3.13 on it would change the exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _write(stream: TextIO, text: str) -> None:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal whose encoding lacks some letters
        text = text.encode("ascii", "backslashreplace").decode()
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        if stream is sys.stdout:
            raise OutputError(error.strerror or str(error)) from error
        raise
