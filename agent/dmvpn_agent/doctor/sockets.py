"""Inspects a Unix socket for ``dmvpn-agent doctor`` with the rights of the program that uses it.

Root may open what the daemons may not.
"""

import grp
import os
import pwd
import re
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.doctor.node import SocketView

TIMEOUT = 10.0
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
_CAP_DAC_OVERRIDE = 1 << 1
_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class User:
    """The rights of a daemon: its effective user and group, and its supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Return user and group by name, or by number if there is no name."""
        user = _name(lambda: pwd.getpwuid(self.uid)[0], self.uid)
        return f"{user}:{_name(lambda: grp.getgrgid(self.gid)[0], self.gid)}"


#: May open any file.
ROOT = User(0, 0)


def user_behind(path: Path) -> User | None:
    """Return the user of the program that listens on a socket, ``None`` if it cannot be read.

    A program with CAP_DAC_OVERRIDE counts as ``ROOT``.
    """
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(path))
        pid, uid, gid = _PEER.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        status = Path(f"/proc/{pid}/status").read_text()
        if int(_field(status, "CapEff"), 16) & _CAP_DAC_OVERRIDE:
            return ROOT
        return User(uid, gid, tuple(int(group) for group in _field(status, "Groups").split()))
    return None


def user_named(name: str, group: str) -> User | None:
    """Return a user with a group as its primary one, as a service has it; ``None`` if either is missing."""
    try:
        entry, gid = pwd.getpwnam(name), grp.getgrnam(group).gr_gid
    except KeyError:
        return None
    return User(entry.pw_uid, gid, tuple(os.getgrouplist(name, gid)))


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Open files as another user inside the block. Without a user, or if this process is not root, do nothing."""
    if user is None or os.geteuid() != 0:
        yield
        return
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def check_socket(path: Path, client: str = "", user: User | None = None, not_for: str = "") -> SocketView:
    """Inspect a socket. ``client``: the program that uses it. ``user``: that program's user, if known.

    ``not_for``: a group whose members must not open it. Only root can tell what another user may open.
    """
    target = path.resolve()
    try:
        status = path.stat()
    except PermissionError:
        return SocketView(str(path), str(target), there=True, access="not readable by this user")
    except OSError:
        return SocketView(str(path), str(target), there=False)
    access = f"{stat.filemode(status.st_mode)} {User(status.st_uid, status.st_gid)}"
    is_refused = user is not None and os.geteuid() == 0 and _is_served(path, user) is None
    refused = f"{client} ({user})" if is_refused else ""
    open_to = not_for if not_for and _is_open_to(path, status, not_for) else ""
    is_socket = stat.S_ISSOCK(status.st_mode)
    return SocketView(str(path), str(target), is_socket, access, _is_served(path), refused, open_to)


def _is_open_to(path: Path, status: os.stat_result, group: str) -> bool:
    """Tell whether a member of a group, without other rights, may open a socket.

    Root tries; another user decides by the mode.
    """
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        return False
    if os.geteuid() == 0:
        return bool(_is_served(path, User(_NOBODY, number)))
    writers = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid == number else 0)
    return bool(status.st_mode & writers)


def _is_served(path: Path, user: User | None = None) -> bool | None:
    """Tell whether a program listens on a socket; ``None`` if this user may not open it."""
    with socket.socket(socket.AF_UNIX) as client, acting_as(user):
        client.settimeout(TIMEOUT)
        try:
            client.connect(str(path))
        except PermissionError:
            return None
        except OSError:
            return False
        return True


def _field(status: str, name: str) -> str:
    found = re.search(rf"^{name}:\t(.*)$", status, re.MULTILINE)
    return found[1] if found else "0"


def _name(of: Callable[[], str], number: int) -> str:
    try:
        return of()
    except KeyError:
        return str(number)
