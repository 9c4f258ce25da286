"""The file behind a store: whose it is, and what happens where it is damaged or somebody else is at it."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bridge.certificate_table import BridgeCertificates, CertificateTable
from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime import store as store_module
from dmvpn_agent.runtime.store import Store, StoreUnreadable
from dmvpn_agent.runtime.telemetry import Telemetry

PADDING = b"x" * 3000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.sqlite"


@contextmanager
def opened(path: Path) -> Iterator[CertificateTable]:
    store = Store(path)
    store.open()
    try:
        yield CertificateTable(store)
    finally:
        store.close()


def stored(path: Path) -> set[str]:
    with opened(path) as table:
        return {spis for spis, _, _ in table.load()}


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _fill(path: Path, count: int = 20) -> None:
    with opened(path) as table:
        for number in range(count):
            table.save(str(number), b"", PADDING)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_it_is_its_owners_alone(path: Path, umask: int) -> None:
    """With all that SQLite keeps beside it, whatever the umask."""
    before = os.umask(umask)
    try:
        with opened(path) as table:
            table.save("1", b"", b"x")
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"bridge.sqlite": 0o600, "bridge.sqlite-wal": 0o600, "bridge.sqlite-shm": 0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    """One that a restored backup left so."""
    _fill(path)
    path.chmod(0o644)
    with opened(path) as table:
        table.save("1", b"", b"x")
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_damage_in_the_midst_is_found_at_the_start(path: Path, logs: list[dict[str, Any]]) -> None:
    """Its head is in order, what it holds is not: all of it is set aside, to be looked at."""
    _fill(path)
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = bytes(range(64))
    path.write_bytes(data)
    assert stored(path) == set()
    assert path.with_suffix(".unreadable").read_bytes() == data
    assert [entry["event"] for entry in logs] == ["store_unreadable"]


def test_a_damaged_file_is_mended_by_its_log(path: Path) -> None:
    """What a process that was killed had written last is still in there."""
    with opened(path) as table:
        table.save("1", b"", PADDING)
        log = _log(path).read_bytes()
    path.write_bytes(b"no database " * 1000)
    _log(path).write_bytes(log)
    assert stored(path) == {"1"}


def test_a_file_that_somebody_holds_is_not_damaged(
    path: Path, logs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process goes on with what it can read, says so once, and writes back what it has learned."""
    monkeypatch.setattr(store_module, "WRITE_BACK_INTERVAL", 0.0)
    _fill(path, 2)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, opened(path) as table:
        other.execute("BEGIN IMMEDIATE")
        table.save("new", b"", b"x")
        table.save("newer", b"", b"x")
        assert {spis for spis, _, _ in table.load()} == {"0", "1", "new", "newer"}
        other.execute("ROLLBACK")
        table.remove("0")
        assert [entry["event"] for entry in logs] == ["store_in_memory", "store_on_disk_again"]
        assert {spis for (spis,) in other.execute("SELECT spis FROM certificates")} == {"1", "new", "newer"}
    assert stored(path) == {"1", "new", "newer"}


def test_rows_of_other_types_are_left_out(path: Path) -> None:
    """SQLite takes text for a BLOB."""
    with opened(path) as table:
        table.save("1", b"", b"x")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("INSERT INTO certificates VALUES ('2', 'text', x'00')")
    assert stored(path) == {"1"}


def test_what_cannot_be_read_of_the_bridges_file_is_not_given_to_anybody(path: Path) -> None:
    """Numbers and text in place of certificates: the agent, who reads the file too, gets the others."""
    with opened(path) as table:
        for number in range(5):
            table.save(str(number), b"", b"x")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE certificates SET remote = 5 WHERE spis = '1'")
        other.execute("UPDATE certificates SET remote = 'text' WHERE spis = '2'")
        other.execute("UPDATE certificates SET remote = CAST(x'ff' AS TEXT) WHERE spis = '3'")
        other.execute("UPDATE certificates SET remote = zeroblob(10000000) WHERE spis = '4'")
    telemetry = Telemetry()
    source = BridgeCertificates(path, telemetry)
    assert source.load(["0", "1", "2", "3", "4"]) == {"0": b"x"}
    assert telemetry.value(metrics.UNREADABLE, "stored_certificate") == 4
    assert stored(path) == {"0"}


@given(st.data())
def test_a_file_damaged_anywhere_is_read_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Nothing is raised: not of a damaged schema either, which SQLite quotes as it is in its messages."""
    path = tmp_path_factory.mktemp("damaged") / "bridge.sqlite"
    whole = bytearray(_whole())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 100) | st.integers(3800, 4095))
        whole[at : at + data.draw(st.sampled_from([0, 1, 1, 1, 50]))] = data.draw(st.binary(min_size=1, max_size=3))
    path.write_bytes(whole)
    BridgeCertificates(path).load(["1", "2"])
    with opened(path) as table:
        list(table.load())
        table.save("new", b"", b"x")
        assert ("new", b"", b"x") in list(table.load())


@lru_cache
def _whole() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.sqlite"
        _fill(path, 5)
        return path.read_bytes()


def test_a_schema_that_is_no_text_is_damage(path: Path) -> None:
    """SQLite's message about it is not UTF-8, and sqlite3 then raises something other than ``sqlite3.Error``."""
    _fill(path, 1)
    path.write_bytes(path.read_bytes().replace(b"spis TEXT PRIMARY KEY", b"spis TEXT PRI\xc5ARY KEY"))
    assert BridgeCertificates(path).load(["0"]) == {}
    assert stored(path) == set()
    assert path.with_suffix(".unreadable").exists()


def test_damage_that_comes_up_while_it_is_written_costs_no_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy in memory has it too; an empty one has not."""
    with opened(path) as table:
        table.save("1", b"", b"x")
        damaged = sqlite3.connect(":memory:", isolation_level=None)
        monkeypatch.setattr(store_module, "in_memory", lambda *_: damaged)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("DROP TABLE certificates")
        table.save("2", b"", b"x")
        assert list(table.load()) == [("2", b"", b"x")]


READER = """
import sys
from pathlib import Path
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.runtime.store import Store
for _ in range(50):
    store = Store(Path(sys.argv[1]))
    store.open_to_read()
    print(len(list(CertificateTable(store).load())), flush=True)
    store.close()
"""


def test_another_process_reads_while_it_is_written(path: Path) -> None:
    """It sees whole rows, ever more of them, and holds nobody up."""
    with opened(path) as table:
        table.save("0", b"", PADDING)
        reader = subprocess.Popen([sys.executable, "-c", READER, path], stdout=subprocess.PIPE, text=True)
        number = 0
        while reader.poll() is None:
            number += 1
            table.save(str(number % 200), b"", PADDING)
        assert reader.stdout is not None
        counts = [int(line) for line in reader.stdout]
        assert len(counts) == 50
        assert counts == sorted(counts)
        assert counts[0] >= 1
    assert len(stored(path)) == min(number + 1, 200)


def test_a_reader_changes_nothing(path: Path) -> None:
    """Not even by leaving files behind."""
    _fill(path)
    store = Store(path)
    store.open_to_read()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.db.execute("DELETE FROM certificates")
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["bridge.sqlite"]
    path.unlink()
    with pytest.raises(StoreUnreadable, match="missing"):
        store.open_to_read()
