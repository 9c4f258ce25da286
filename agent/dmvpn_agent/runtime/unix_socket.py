"""Listening on a Unix socket: a stale file is replaced, a living owner is not."""

import errno
import os
import pwd
import socket
from pathlib import Path

#: Connections that may wait to be accepted. nhrpd does not wait for a place: without one it tries again after 10 s.
BACKLOG = 1024
#: Of an address, without the octet that ends it (unix(7)).
MAX_PATH = 107


class SocketInUse(Exception):
    """Another process answers on the path; the text says what to do."""


def bind(path: Path, *, mode: int) -> socket.socket:
    """Listen on ``path`` with file permissions ``mode``; the file's group is the directory's where that is setgid.

    Raises ``SocketInUse``, or ``OSError`` that names the path and says what to do.
    """
    if (length := len(os.fsencode(path))) > MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, f"cannot listen: the path has {length} bytes, the kernel takes {MAX_PATH};"
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
    """Return what hinders a socket at a path, and what to do about it."""
    folder = path.parent
    if not folder.is_dir():
        return f"; {folder} is no directory: create it (systemd: RuntimeDirectory=), or configure another path"
    if path.exists():
        return "; there is a file that is no socket: remove it, or configure another path"
    if not os.access(folder, os.W_OK | os.X_OK):
        try:
            user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            user = str(os.geteuid())
        return f"; the user {user} may not create files in {folder}: give it the directory"
    return ""


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
