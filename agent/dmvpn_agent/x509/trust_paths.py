"""The paths of the operator's CA certificates and CRLs: files, and directories of them."""

import errno
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

#: A larger file is no CRL of a DMVPN.
MAX_FILE_BYTES = 32 << 20


class _Listing(NamedTuple):
    """A path of the configuration: the file itself, or those in the directory."""

    files: tuple[Path, ...]
    problem: str | None = None
    missing: bool = False

    @classmethod
    def of(cls, path: Path) -> "_Listing":
        try:
            if path.is_dir():
                # A file that is still being written has a dot in front until it is renamed.
                entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
                return cls(tuple(entry for entry in entries if entry.is_file()))
            return cls((path,)) if path.exists() else cls((), missing=True)
        except OSError as error:
            return cls((), problem=f"{path}: {_why(error)}; may the agent's user read it?")


def _list(given: tuple[Path, ...]) -> tuple[list[Path], list[str]]:
    """Return the files of these paths, and what could not be looked into."""
    listings = [_Listing.of(path) for path in given]
    files = [file for listing in listings for file in listing.files]
    return files, [listing.problem for listing in listings if listing.problem]


def _status(path: Path) -> Hashable:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"longer than {MAX_FILE_BYTES} bytes")
    return data


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
