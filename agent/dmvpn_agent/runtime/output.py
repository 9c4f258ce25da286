"""Output of the commands: the one way to standard output and standard error, safe for a terminal.

Certificates, identities, file names and answers of other programs may contain anything. None of it may act on the
terminal, or look like a line of this program.
"""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from dmvpn_agent.runtime.printable import printable, printable_lines


def say(text: str) -> None:
    """Print text of several lines to standard output."""
    _write(sys.stdout, printable_lines(text))


def say_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output, each on exactly one line; print nothing if there are none."""
    if shown := [printable(line) for line in lines]:
        _write(sys.stdout, "\n".join(shown))


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
    print(text, file=stream, flush=True)
