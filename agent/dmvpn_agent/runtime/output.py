"""What the commands print: the one way to standard output and standard error, safe for a terminal.

Certificates, identities, file names, the agent's answer and other programs' words may hold anything. Nothing of it
acts on the terminal, or looks like a line of ours.
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
    """Print lines to standard output, each on one line whatever is in it; nothing where there are none."""
    if shown := [printable(line) for line in lines]:
        _write(sys.stdout, "\n".join(shown))


def complain(text: str) -> None:
    """Print one line to standard error; where nobody reads it, the exit status says it too."""
    try:
        _write(sys.stderr, printable(text))
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Write nowhere what is left in a stream without a reader: from Python 3.13 on it changes the exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _write(stream: TextIO, text: str) -> None:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal that has not all letters
        text = text.encode("ascii", "backslashreplace").decode()
    print(text, file=stream, flush=True)
