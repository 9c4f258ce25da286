"""What root does with another user's files, it does with that user's rights only.

A user can put a link in place of any file in a directory of his own, and root would follow it.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Owner(NamedTuple):
    """A user other than root."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return user_name(self.uid)

    @property
    def groups(self) -> list[int]:
        """Return all groups of the user."""
        try:
            return os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)
        except KeyError:  # no name: it has no other group
            return [self.gid]


def owner_of(file: Path) -> Owner | None:
    """Return who can replace a file: its directory's owner, or its own. ``None`` if only root can."""
    for path in (file.parent.resolve(), file):
        try:
            status = path.lstat()
        except OSError:
            continue
        if status.st_uid != 0:
            return Owner(status.st_uid, _group(status))
    return None


def _group(status: os.stat_result) -> int:
    """Return the group of a file's owner; the file itself may have root's, as after a ``chown`` without a group."""
    try:
        return pwd.getpwuid(status.st_uid).pw_gid
    except KeyError:
        return status.st_gid


@contextmanager
def rights_of(owner: Owner | None) -> Iterator[None]:
    """Act as a user meanwhile, if this process is root's. For processes with one thread: the rights are all threads'.

    Raises ``PermissionError`` if a service manager has taken the right to do so from root.
    """
    if owner is None or os.geteuid() != 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups(owner.groups)
        os.setegid(owner.gid)
        os.seteuid(owner.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@contextmanager
def own_rights() -> Iterator[None]:
    """Act as who started the process, inside of ``rights_of``: for files that were named on the command line."""
    user, group = os.geteuid(), os.getegid()
    if user == os.getuid():
        yield
        return
    os.seteuid(os.getuid())
    os.setegid(os.getgid())
    try:
        yield
    finally:
        os.setegid(group)
        os.seteuid(user)


def become(owner: Owner | None) -> None:
    """Be a user from now on, if this process is root's. Raises ``PermissionError``."""
    if owner is not None and os.geteuid() == 0:
        os.setgroups(owner.groups)
        os.setresgid(owner.gid, owner.gid, owner.gid)
        os.setresuid(owner.uid, owner.uid, owner.uid)


def user_name(uid: int | None = None) -> str:
    """Return a user's name, or its number; without one, that of the user this process acts as."""
    number = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
