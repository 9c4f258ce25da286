"""Files that cannot be written: the path and what to do are named, and the old file is there."""

import errno
import os
from pathlib import Path

import pytest

from dmvpn_agent.setup.disk import Disk, failure_text
from dmvpn_agent.setup.system import File


@pytest.mark.parametrize(("number", "do"), [(errno.ENOSPC, "make room"), (errno.EROFS, "remount"), (errno.EIO, "")])
def test_what_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, do: str
) -> None:
    """The kernel's error for a write to a full disk names no file."""

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    disk = Disk(tmp_path, owns=False)
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=os.strerror(number)) as info:
        disk.write("/file", File(b"new", 0o644, "root", "root"))
    assert failure_text(info.value).startswith("/file: ")
    with pytest.raises(OSError, match=os.strerror(number)) as info:
        disk.append("/journal", b"line")
    assert failure_text(info.value).startswith("/journal: ")
    assert do in failure_text(info.value)
    assert (tmp_path / "file").read_text() == "old"


def test_other_errors_keep_their_text() -> None:
    """They say what is wrong by themselves."""
    assert failure_text(OSError("/etc/x is longer than 16777216 bytes")) == "/etc/x is longer than 16777216 bytes"
    assert failure_text(RuntimeError("no")) == "no"
