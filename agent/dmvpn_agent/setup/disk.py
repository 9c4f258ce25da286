"""Files of the machine: each is replaced as a whole, so that an interruption leaves the old one or the new one."""

import errno
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dmvpn_agent.setup.system import File

#: The end of the name of a file that is being written. The next run or ``--undo`` removes one that was left.
UNFINISHED = ".dmvpn-agent-new"
MAX_FILE_BYTES = 16 << 20


class Disk:
    """The file system below ``root``. ``owns``: owners are set, which needs root."""

    def __init__(self, root: Path = Path("/"), *, owns: bool = True) -> None:
        self._root = root
        self._owns = owns

    def path(self, path: str) -> Path:
        """Return where a path of the machine lies."""
        return self._root / path.lstrip("/")

    def read(self, path: str) -> File | None:
        """Return a file, ``None`` if there is none. Raises ``OSError``."""
        place = self.path(path)
        try:
            with place.open("rb") as stream:
                status = os.fstat(stream.fileno())
                content = stream.read(MAX_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(content) > MAX_FILE_BYTES:
            raise OSError(f"{path} is longer than {MAX_FILE_BYTES} bytes")
        owner, group = self._names(status)
        return File(content, stat.S_IMODE(status.st_mode), owner, group)

    def write(self, path: str, file: File) -> None:
        """Replace a file, or make it. Raises ``OSError``; the old one is there then."""
        place = self.path(path)
        real = place.resolve() if place.is_symlink() else place
        new = real.with_name(real.name + UNFINISHED)
        self.discard_unfinished(str(real.relative_to(self._root)))
        with _naming(path):
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(file.content)
                stream.flush()
                self._own(descriptor, file.owner, file.group)
                os.fchmod(descriptor, file.mode)
                os.fsync(descriptor)
            new.rename(real)
            _sync(real.parent)

    def remove(self, path: str) -> None:
        """Remove a file. Raises ``OSError``."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self.path(path).unlink()

    def discard_unfinished(self, path: str) -> None:
        """Remove what an interrupted ``write`` left. Raises ``OSError``."""
        self.remove(path + UNFINISHED)

    def append(self, path: str, line: bytes) -> None:
        """Append to a file that only root may read, and wait until it is on the disk. Raises ``OSError``."""
        with _naming(path):
            descriptor = os.open(self.path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(descriptor)

    def directory_mode(self, path: str) -> int | None:
        """Return the mode of a directory, ``None`` if there is none."""
        try:
            status = self.path(path).stat()
        except OSError:
            return None
        return stat.S_IMODE(status.st_mode) if stat.S_ISDIR(status.st_mode) else None

    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory, or give it the mode. Raises ``OSError``."""
        place = self.path(path)
        with suppress(FileExistsError):
            place.mkdir()
        place.chmod(mode)

    def remove_directory(self, path: str) -> bool:
        """Remove a directory; return false if something is in it. Raises ``OSError``."""
        try:
            self.path(path).rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def remove_tree(self, path: str) -> None:
        """Remove a directory with everything in it. Raises ``OSError``."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path(path))

    def _own(self, descriptor: int, owner: str, group: str) -> None:
        if self._owns:
            # An account that is gone has only its number, as ``_names`` returns it.
            user = int(owner) if owner.isdecimal() else pwd.getpwnam(owner).pw_uid
            os.fchown(descriptor, user, int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid)

    def _names(self, status: os.stat_result) -> tuple[str, str]:
        if not self._owns:
            return "root", "root"
        owner, group = str(status.st_uid), str(status.st_gid)
        with suppress(KeyError):
            owner = pwd.getpwuid(status.st_uid).pw_name
        with suppress(KeyError):
            group = grp.getgrgid(status.st_gid).gr_name
        return owner, group


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Name the file in the errors of what is done meanwhile; a write to a full disk raises one that names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error


def failure_text(error: Exception) -> str:
    """Return an error's text for the operator: of a file, its path, and what to do if the disk is full."""
    if not isinstance(error, OSError) or error.filename is None:
        return str(error)
    do = {errno.ENOSPC: "; make room, then run setup again", errno.EROFS: "; remount it, then run setup again"}
    return f"{error.filename}: {error.strerror}{do.get(error.errno or 0, '')}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
