"""A store on a real file system that is full, or read-only."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.runtime.store import Store

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs root, to mount a tmpfs"),
]


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
    except subprocess.CalledProcessError:
        pytest.skip("may not mount here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _opened(path: Path) -> Store[str, tuple[bytes, bytes]]:
    store = Store(path, CertificateTable.TABLE)
    store.open()
    return store


def _stored(path: Path) -> set[str]:
    store = _opened(path)
    try:
        return _keys(store)
    finally:
        store.close()


def _keys(store: Store[str, tuple[bytes, bytes]]) -> set[str]:
    return {spis for spis, _, _ in CertificateTable(store).load()}


def test_a_full_disk_loses_nothing(small: Path, logs: list[dict[str, Any]]) -> None:
    """What does not fit is kept in memory, and written as soon as there is room."""
    store = _opened(small / "bridge.sqlite")
    table = CertificateTable(store)
    table.save("first", b"", b"x")
    store.flush()
    (small / "filler").write_bytes(b"x" * (900 << 10))
    names = {f"spis{number}" for number in range(30)}
    for name in names:
        table.save(name, b"", bytes(4000))
    store.flush()
    assert not store.survives
    assert [entry["event"] for entry in logs] == ["store_in_memory"]
    assert _keys(store) == {"first", *names}
    (small / "filler").unlink()
    table.remove("first")
    store.flush()
    assert store.survives
    assert [entry["event"] for entry in logs] == ["store_in_memory", "store_on_disk_again"]
    store.close()
    assert _stored(small / "bridge.sqlite") == names


def test_a_disk_that_is_full_at_the_start_does_not_prevent_the_start(small: Path, logs: list[dict[str, Any]]) -> None:
    """There is no file yet, and no room for one."""
    with pytest.raises(OSError, match="No space"):
        (small / "filler").write_bytes(b"x" * (2 << 20))
    store = _opened(small / "bridge.sqlite")
    CertificateTable(store).save("1", b"", b"x")
    store.flush()
    assert _keys(store) == {"1"}
    assert [entry["event"] for entry in logs] == ["store_in_memory"]
    (small / "filler").unlink()
    store.close()
    assert _stored(small / "bridge.sqlite") == {"1"}


@pytest.mark.parametrize("killed", [False, True])
def test_a_read_only_file_system_is_read(small: Path, logs: list[dict[str, Any]], killed: bool) -> None:
    """What was stored is known, also what a process that was killed had stored."""
    path = small / "bridge.sqlite"
    store = _opened(path)
    CertificateTable(store).save("1", b"", b"x")
    store.flush()
    copies = {file: file.read_bytes() for file in small.iterdir()}
    store.close()
    if killed:
        for file, data in copies.items():
            file.write_bytes(data)
    _mount("-o", "remount,ro", small)
    store = _opened(path)
    table = CertificateTable(store)
    table.save("2", b"", b"x")
    store.flush()
    assert _keys(store) == {"1", "2"}
    assert [entry["event"] for entry in logs] == ["store_in_memory"]
    _mount("-o", "remount,rw", small)
    table.save("3", b"", b"x")
    store.close()
    assert _stored(path) == {"1", "2", "3"}
