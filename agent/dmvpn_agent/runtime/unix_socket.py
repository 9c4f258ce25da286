"""Listening on a Unix socket: a stale file is replaced, the socket of a running process is not."""

import errno
import os
import pwd
import socket
from pathlib import Path

#: Connections that may wait to be accepted. If the queue is full, nhrpd's connect fails; it retries after 10 s.
BACKLOG = 1024
#: Bytes of a path, without the terminating one (unix(7)).
MAX_PATH = 107


class SocketInUse(Exception):
    """Another process listens on the path; the text says what to do."""


def bind(path: Path, *, mode: int) -> socket.socket:
    """Listen on ``path`` with file mode ``mode``; in a setgid directory the file gets the directory's group.

    Raises ``SocketInUse``, or ``OSError`` that names the path and says what to do.
    """
    if (length := len(os.fsencode(path))) > MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, f"cannot listen: the path has {length} bytes, the kernel allows {MAX_PATH};"
                      " configure a shorter one", str(path))  # fmt: skip
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
        why = f"cannot listen: {error.strerror or error}{_advice(path)}"
        raise OSError(error.errno, why, str(path)) from error
    return listener


def _advice(path: Path) -> str:
    """Return why no socket can be made at a path, and what to do."""
    folder = path.parent
    if not folder.is_dir():
        return f"; {folder} is not a directory: create it (systemd: RuntimeDirectory=), or configure another path"
    if path.exists():
        return "; a file that is not a socket is in its place: remove it, or configure another path"
    if not os.access(folder, os.W_OK | os.X_OK):
        try:
            user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            user = str(os.geteuid())
        return f"; the user {user} may not create files in {folder}: change the owner of the directory"
    return ""


def answered(path: Path) -> bool:
    """Tell whether a process listens on a socket; ``True`` if that cannot be known."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # no permission, or the process is too busy to accept: in either case there is one
        return True
