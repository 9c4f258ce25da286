"""What an operator names on a command line is read to its end, and never waited for without end."""

import os
import threading
from pathlib import Path

import pytest

from dmvpn_agent.runtime.file_input import read_file_input


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_a_file_is_read_up_to_one_byte_too_many(tmp_path: Path) -> None:
    """So that the caller sees that it is too long."""
    (tmp_path / "file").write_bytes(b"12345")
    assert [read_file_input(tmp_path / "file", longest) for longest in (5, 3)] == [b"12345", b"1234"]
    assert read_file_input(Path("/dev/zero"), 3) == bytes(4)


def test_a_pipe_that_nobody_writes_into_is_named(fifo: Path) -> None:
    """Without a writer, and with one that writes nothing."""
    with pytest.raises(TimeoutError, match="nothing was written"):
        read_file_input(fifo, 10, patience=0.01)
    reader, writer = os.pipe()
    try:
        with pytest.raises(TimeoutError, match="nothing was written"):
            read_file_input(Path(f"/dev/fd/{reader}"), 10, patience=0.01)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_writer_may_come_later(fifo: Path) -> None:
    """As with ``mkfifo``, when both commands start at once."""
    writer = threading.Thread(target=lambda: fifo.write_bytes(b"late"))
    writer.start()
    assert read_file_input(fifo, 10) == b"late"
    writer.join()


def test_a_pipe_whose_writer_has_gone_is_read_at_once() -> None:
    """As the shell's ``<(…)`` leaves one."""
    reader, writer = os.pipe()
    os.write(writer, b"passphrase\n")
    os.close(writer)
    try:
        assert read_file_input(Path(f"/dev/fd/{reader}"), 100) == b"passphrase\n"
    finally:
        os.close(reader)


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A folder, and nothing."""
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OSError, match=r"directory"):
            read_file_input(path, 10)
