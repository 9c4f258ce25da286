"""Listening on a Unix socket: a stale file is replaced, a living owner is not."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

#: Connections that may wait to be accepted.
BACKLOG = 100

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class SocketInUse(Exception):
    """Another process answers on the path; the text says what to do."""


async def listen(path: Path, handler: Handler, *, mode: int) -> asyncio.Server:
    """Serve on ``path`` with streams; otherwise as ``bind``."""
    return await asyncio.start_unix_server(handler, sock=bind(path, mode=mode))


def bind(path: Path, *, mode: int) -> socket.socket:
    """Listen on ``path`` with file permissions ``mode``; the file's group is the directory's where that is setgid.

    Raises ``SocketInUse``, or ``OSError`` that names the path where the directory is missing or not writable.
    """
    if path.is_socket():
        if answered(path):
            raise SocketInUse(f"another process listens on {path}; stop it, or configure another path")
        path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen: {error.strerror or error}", str(path)) from error
    return listener


def answered(path: Path) -> bool:
    """Tell whether somebody listens on a socket; where that cannot be known, somebody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # no right to ask, or it is too busy to answer: in either case somebody is there
        return True
