"""Reads what an operator names on a command line: a file, a pipe, or what a shell's ``<(…)`` makes."""

import errno
import os
import select
import stat
import time
from pathlib import Path

#: How long a pipe may stay silent. Somebody may type a passphrase for the program that fills it.
PATIENCE = 60.0


def read_file_input(path: Path, longest: int, patience: float = PATIENCE) -> bytes:
    """Return the content, one byte more than ``longest`` at most. Raises ``OSError``, also if a pipe stays silent.

    A pipe that nobody has opened for writing would else be waited for without end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
            return _read_slowly(descriptor, longest, patience)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(longest + 1)
    finally:
        os.close(descriptor)


def _read_slowly(descriptor: int, longest: int, patience: float) -> bytes:
    """Return all until the end. Of a pipe that nobody has written to yet, an empty read is not the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    data, deadline, waited = b"", time.monotonic() + patience, False
    while len(data) <= longest:
        try:
            piece = os.read(descriptor, longest + 1 - len(data))
        except BlockingIOError:
            pass
        else:
            data += piece
            if piece:
                continue
            if data or waited:
                break
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(errno.ETIMEDOUT, f"nothing was written into it within {patience:g} s")
        waited = True
    return data
