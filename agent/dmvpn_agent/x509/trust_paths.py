"""The operator's files: the paths of the configuration, each a file or a directory of files."""

import errno
from collections.abc import Hashable
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

#: A larger file is not a CRL of a DMVPN.
MAX_FILE_BYTES = 32 << 20


class Listing(NamedTuple):
    """The files of one configured path: the file itself, or those in the directory."""

    files: tuple[Path, ...]
    problem: str | None = None
    missing: bool = False

    @classmethod
    def of(cls, path: Path) -> "Listing":
        """List the files of a path; a directory that cannot be read is a problem, not an exception."""
        try:
            if (mode := _mode(path)) is None:
                return cls((), missing=True)
            if not S_ISDIR(mode):
                return cls((path,))
            # The name of a file that is being written begins with a dot until it is renamed.
            entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
            return cls(tuple(entry for entry in entries if S_ISREG(_mode(entry) or 0)))
        except OSError as error:
            return cls((), problem=f"{path}: {why(error)}; check that the agent's user may read it")


def _mode(path: Path) -> int | None:
    """Return a file's type and mode, ``None`` if there is none. Raises ``OSError``.

    From Python 3.14 on, ``is_dir`` and ``exists`` do not tell a file that is absent from one that cannot be reached.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def list_files(paths: tuple[Path, ...]) -> tuple[list[Path], list[str]]:
    """Return the files of these paths, and the problems."""
    listings = [Listing.of(path) for path in paths]
    files = [file for listing in listings for file in listing.files]
    return files, [listing.problem for listing in listings if listing.problem]


def file_stamp(path: Path) -> Hashable:
    """Return a value that changes when the file changes."""
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_bounded(path: Path) -> bytes:
    """Return the content of a file. Raises ``OSError``, also for more than ``MAX_FILE_BYTES``."""
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"longer than {MAX_FILE_BYTES} bytes")
    return data


def why(error: Exception) -> str:
    """Return the text of an error without the path."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
