"""Files that the CA writes: complete or not at all; a file is overwritten only if that is intended."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.runtime.file_input import read_file_input
from dmvpn_agent.runtime.owner_rights import user_name

#: No input of the CA is larger.
MAX_INPUT_BYTES = 1 << 20


class PendingFile:
    """A file that is on the disk already, under another name, until ``put``."""

    def __init__(self, path: Path, aside: Path, *, replace: bool) -> None:
        self._path = path
        self._aside = aside
        self._replace = replace

    def put(self) -> None:
        """Give the file its name. Raises ``CaError``, also if there is a file of this name by now."""
        try:
            if self._replace:
                self._aside.replace(self._path)
            else:
                os.link(self._aside, self._path)
        except OSError as error:
            raise _refused(self._path, error) from error
        _sync_folder(self._path)


@contextmanager
def pending_file(
    path: Path, data: bytes, *, mode: int, replace: bool = False, option: str = ""
) -> Iterator[PendingFile]:
    """Write data to the disk, and let the caller decide when it becomes the file. Raises ``CaError``.

    ``option``: the one by which the operator may name another file.
    So what can fail (no room, no permission, a file of this name) fails before anything else is changed.
    """
    if not replace and path.exists():
        raise CaError(f"{path} exists already", f"move it away, or name another file{option and f' ({option})'}")
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        try:
            _write_synced(aside, data, mode)
        except OSError as error:
            raise _refused(path, error) from error
        yield PendingFile(path, aside, replace=replace)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def write_file(path: Path, data: bytes, *, mode: int, replace: bool = False) -> None:
    """Write a file. Raises ``CaError``."""
    with pending_file(path, data, mode=mode, replace=replace) as pending:
        pending.put()


def read_input(path: Path, what: str, longest: int = MAX_INPUT_BYTES) -> bytes:
    """Return a file's content. Raises ``CaError``."""
    try:
        data = read_file_input(path, longest)
    except OSError as error:
        raise CaError(f"{path}: {error.strerror}", f"{what} is read from there") from error
    if len(data) > longest:
        raise CaError(f"{path} has more than {longest} bytes", f"it cannot be {what}")
    return data


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _refused(path: Path, error: OSError) -> CaError:
    do = {errno.ENOSPC: "make room, and repeat the command", errno.EEXIST: "move it away, or name another file"}
    otherwise = f"name a directory that {user_name()} may write to"
    return CaError(f"{path}: {error.strerror}", do.get(error.errno or 0, otherwise))


def _sync_folder(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
