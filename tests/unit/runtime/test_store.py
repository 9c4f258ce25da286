"""The store: what a restart knows, and what happens if the file is damaged, locked or slow."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
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
from dmvpn_agent.runtime.sqlite_file import StoreUnreadable, delete_file, read_file
from dmvpn_agent.runtime.store import HANGING, Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
from fakes.waiting import until_now

PADDING = b"x" * 3000
TABLE = CertificateTable.TABLE
CertificateStore = Store[str, tuple[bytes, bytes]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.sqlite"


@contextmanager
def opened(path: Path) -> Iterator[CertificateStore]:
    store = Store(path, TABLE)
    store.open()
    try:
        yield store
    finally:
        store.close()


def stored(path: Path) -> set[str]:
    with opened(path) as store:
        return keys(store)


def keys(store: CertificateStore) -> set[str]:
    return {name for name, _ in store.load()}


def _save(store: CertificateStore, *names: str) -> None:
    for name in names:
        store.save(name, (b"", b"x"))
    store.flush()


def _fill(path: Path, count: int = 20) -> None:
    with opened(path) as store:
        for number in range(count):
            store.save(str(number), (b"", PADDING))


class Hanging(CertificateStore):
    """Its disk answers once it is released."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, TABLE, **options)
        self.writing, self.released = threading.Event(), threading.Event()

    def _write(self, *words: Any, **more: Any) -> None:
        self.writing.set()
        self.released.wait()
        super()._write(*words, **more)


@pytest.fixture
def hanging(path: Path) -> Iterator[Hanging]:
    store = Hanging(path, timeout=0.01)
    yield store
    store.released.set()


class TestRestart:
    """What the next process knows."""

    def test_the_file_has_what_was_saved_last(self, path: Path) -> None:
        """Rows are in the order in which they were saved last; a removed row is gone."""
        with opened(path) as store:
            for name in ("a", "b", "c", "a"):
                store.save(name, (b"", b"x"))
            store.remove("b")
            store.remove("b")
        with opened(path) as store:
            assert [name for name, _ in store.load()] == ["c", "a"]

    def test_the_order_survives_several_writes(self, path: Path) -> None:
        """A row that is saved again after a write goes to the end of the file, too."""
        with opened(path) as store:
            _save(store, "a", "b")
            _save(store, "a")
        with opened(path) as store:
            assert [name for name, _ in store.load()] == ["b", "a"]

    def test_a_store_that_was_closed_can_be_opened_again(self, path: Path) -> None:
        """It goes on writing."""
        store = Store(path, TABLE)
        for name in ("a", "b"):
            store.open()
            store.save(name, (b"", b"x"))
            assert store.flush()
            store.close()
        with opened(path) as again:
            assert [name for name, _ in again.load()] == ["a", "b"]

    def test_a_store_that_was_not_opened_can_be_closed(self, path: Path) -> None:
        """A start that failed half-way can be stopped."""
        store = Store(path, TABLE)
        store.close()
        assert (store.flush(), store.survives, path.exists()) == (True, False, False)

    def test_a_transaction_that_was_interrupted_has_no_effect(self, path: Path) -> None:
        """A process that is killed while it writes leaves the former rows."""
        _fill(path, 200)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA synchronous=OFF")
            other.execute("PRAGMA cache_size=1")
            other.execute("BEGIN")
            other.execute("UPDATE certificates SET remote = x'00'")
            for name in ("bridge.sqlite", "bridge.sqlite-journal"):
                shutil.copy(path.parent / name, path.parent / f"killed-{name}")
        copy = path.parent / "killed-bridge.sqlite"
        with opened(copy) as store:
            assert {remote for _, (_, remote) in store.load()} == {PADDING}


class TestFile:
    """Whose it is, and what it must be."""

    @pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
    def test_only_the_owner_can_read_it(self, path: Path, umask: int) -> None:
        """Whatever the umask."""
        before = os.umask(umask)
        try:
            _fill(path)
        finally:
            os.umask(before)
        assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {"bridge.sqlite": 0o600}

    def test_a_file_that_others_can_read_is_closed_to_them(self, path: Path) -> None:
        """A restored backup may be readable."""
        _fill(path)
        path.chmod(0o644)
        _fill(path)
        assert path.stat().st_mode & 0o777 == 0o600

    def test_it_is_deleted_with_its_journal(self, path: Path) -> None:
        """A file that does not exist is no error."""
        _fill(path)
        path.with_name("bridge.sqlite-journal").touch()
        delete_file(path)
        delete_file(path)
        assert not list(path.parent.iterdir())

    @pytest.mark.parametrize(
        "schema",
        [
            "CREATE TABLE certificates (other TEXT)",
            "CREATE TABLE certificates (spis TEXT PRIMARY KEY, local INT)",
            "CREATE VIEW certificates AS SELECT 1",
            f"{TABLE.create}; CREATE TABLE peers (address TEXT)",
            f"{TABLE.create}; CREATE TRIGGER t AFTER INSERT ON certificates BEGIN DELETE FROM certificates; END",
        ],
    )
    def test_a_file_of_another_schema_is_set_aside(self, path: Path, schema: str) -> None:
        """The process starts with an empty memory, and the file can be inspected."""
        with closing(sqlite3.connect(path)) as db, db:
            db.executescript(schema)
        with pytest.raises(StoreUnreadable, match="schema"):
            read_file(path, TABLE, Unreadable(Telemetry()))
        assert stored(path) == set()
        assert path.with_suffix(".unreadable").exists()


class TestDamage:
    """A damaged file is set aside; an unreadable row is skipped."""

    def test_a_file_that_is_not_a_database_is_set_aside(self, path: Path) -> None:
        path.write_bytes(b"no database " * 1000)
        assert stored(path) == set()
        assert path.with_suffix(".unreadable").exists()

    def test_damage_inside_the_file_is_found_at_the_start(self, path: Path, logs: list[dict[str, Any]]) -> None:
        """Its first page is in order, the others are not."""
        _fill(path)
        data = bytearray(path.read_bytes())
        for page in range(2, len(data) // 4096):
            data[page * 4096 : page * 4096 + 64] = bytes(range(64))
        path.write_bytes(data)
        assert stored(path) == set()
        assert path.with_suffix(".unreadable").read_bytes() == data
        assert [entry["event"] for entry in logs] == ["store_unreadable"]

    def test_the_journal_of_a_damaged_file_is_not_used_for_the_next_file(self, path: Path) -> None:
        """SQLite would roll the new file back to the old one's pages."""
        path.write_bytes(b"no database " * 1000)
        path.with_name("bridge.sqlite-journal").write_bytes(b"journal")
        with opened(path) as store:
            _save(store, "1")
        assert stored(path) == {"1"}

    def test_a_schema_that_is_not_text_is_damage(self, path: Path) -> None:
        """SQLite's message about it is not UTF-8, and sqlite3 raises ``UnicodeDecodeError``."""
        _fill(path, 1)
        path.write_bytes(path.read_bytes().replace(b"spis TEXT PRIMARY KEY", b"spis TEXT PRI\xc5ARY KEY"))
        assert BridgeCertificates(path).load(["0"]) == {}
        assert stored(path) == set()
        assert path.with_suffix(".unreadable").exists()

    def test_a_table_that_is_dropped_while_the_process_runs_is_written_again(
        self, path: Path, logs: list[dict[str, Any]]
    ) -> None:
        """The rows are in memory."""
        with opened(path) as store:
            _save(store, "1")
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("DROP TABLE certificates")
            _save(store, "2")
            store.flush()
        assert stored(path) == {"1", "2"}
        assert [entry["event"] for entry in logs] == ["store_in_memory", "store_on_disk_again"]

    def test_rows_of_other_types_are_skipped(self, path: Path) -> None:
        """SQLite stores text in a BLOB column; the agent, which reads the bridge's file, skips the same rows."""
        with opened(path) as store:
            _save(store, "0", "1", "2", "3", "4")
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

    def test_a_file_that_sqlite_would_only_read_is_set_aside(self, tmp_path: Path) -> None:
        """The write version in its header is of no SQLite."""
        path = tmp_path / "bridge.sqlite"
        whole = bytearray(_whole())
        whole[18] = 3
        path.write_bytes(whole)
        with opened(path) as store:
            _save(store, "new")
            store.flush()
        assert stored(path) == {"new"}

    @given(st.data())
    def test_a_file_with_any_damage_is_read_or_set_aside(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        """Nothing is raised, and what is saved afterwards survives."""
        path = tmp_path_factory.mktemp("damaged") / "bridge.sqlite"
        whole = bytearray(_whole())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 100) | st.integers(3800, 4095))
            size = data.draw(st.sampled_from([0, 1, 1, 1, 50]))
            whole[at : at + size] = data.draw(st.binary(min_size=1, max_size=3))
        path.write_bytes(whole)
        BridgeCertificates(path).load(["1", "2"])
        with opened(path) as store:
            _save(store, "new")
            store.flush()
        assert "new" in stored(path)


@lru_cache
def _whole() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.sqlite"
        _fill(path, 5)
        return path.read_bytes()


class TestDisk:
    """A disk that cannot be written, or hangs."""

    def test_a_directory_that_is_missing_is_named(self, tmp_path: Path, logs: list[dict[str, Any]]) -> None:
        """Until it exists the process goes on in memory; then everything is written."""
        path = tmp_path / "nowhere" / "bridge.sqlite"
        with opened(path) as store:
            _save(store, "1", "2")
            assert (keys(store), store.survives) == ({"1", "2"}, False)
            assert [entry["event"] for entry in logs] == ["store_in_memory"]
            assert "nowhere/bridge.sqlite" in logs[0]["why"]
            path.parent.mkdir()
            store.flush()
            assert store.survives
        assert stored(path) == {"1", "2"}

    def test_a_file_that_could_not_be_written_is_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the thread itself, without another change."""
        monkeypatch.setattr(store_module, "FIRST_RETRY", 0.001)
        path = tmp_path / "nowhere" / "bridge.sqlite"
        with opened(path) as store:
            _save(store, "1")
            path.parent.mkdir()
            until_now(lambda: store.survives)

    def test_a_file_that_another_process_has_locked_is_not_damaged(
        self, path: Path, logs: list[dict[str, Any]]
    ) -> None:
        """The process goes on in memory, and writes what it has learned once the file is free.

        A reader has the file for a moment; it is reported if that lasts.
        """
        _fill(path, 2)
        now = 0.0
        store = Store(path, TABLE, clock=lambda: now)
        store.open()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            _save(store, "new")
            assert keys(store) == {"0", "1", "new"}
            assert (logs, store.survives) == ([], True)
            now = HANGING
            store.flush()
            assert not store.survives
            other.execute("ROLLBACK")
            store.remove("0")
            store.flush()
            assert [entry["event"] for entry in logs] == ["store_in_memory", "store_on_disk_again"]
            assert {spis for (spis,) in other.execute("SELECT spis FROM certificates")} == {"1", "new"}
        store.close()

    def test_a_lock_that_ends_soon_is_not_reported(self, path: Path, logs: list[dict[str, Any]]) -> None:
        """Nothing is lost."""
        with opened(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
            _save(store, "1")
            other.execute("BEGIN IMMEDIATE")
            _save(store, "2")
            other.execute("ROLLBACK")
        assert (logs, stored(path)) == ([], {"1", "2"})

    @pytest.mark.parametrize("bad", ["\ud800", 7], ids=["not Unicode", "of another type"])
    def test_a_row_that_cannot_be_written_is_skipped_alone(
        self, path: Path, logs: list[dict[str, Any]], bad: Any
    ) -> None:
        """The others are written; it is counted, and the file counts as writable."""
        telemetry = Telemetry()
        store = Store(path, TABLE, Unreadable(telemetry))
        store.open()
        for name in ("1", bad, "2"):
            store.save(name, (b"", b"x" if isinstance(name, str) else object()))  # type: ignore[arg-type]
        store.flush()
        assert store.survives
        store.remove(bad)
        store.close()
        assert stored(path) == {"1", "2"}
        assert telemetry.value(metrics.UNREADABLE, "stored_certificate") == 1
        assert [entry["event"] for entry in logs] == ["item_unreadable"]

    def test_rows_that_could_not_be_read_at_the_start_are_kept(self, path: Path) -> None:
        """Another process has the file for a moment; the next process still knows them."""
        _fill(path, 2)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            store = Store(path, TABLE)
            store.open()
            other.execute("ROLLBACK")
        assert store.load() == ()
        _save(store, "new")
        assert stored(path) == {"0", "1", "new"}
        store.close()

    def test_a_disk_that_hangs_delays_nothing(self, hanging: Hanging, logs: list[dict[str, Any]]) -> None:
        """Neither a change, nor the end of the process for long."""
        hanging.open()
        hanging.save("1", (b"", b"x"))
        assert not hanging.flush()
        hanging.close()
        assert [entry["event"] for entry in logs] == ["store_not_closed"]

    def test_a_store_that_is_opened_again_while_its_disk_hangs_has_one_writer(self, hanging: Hanging) -> None:
        """``close`` gave up; the thread that hangs goes on with what is saved from then on."""
        hanging.open()
        hanging.save("1", (b"", b"x"))
        hanging.writing.wait()
        hanging.close()
        writer = hanging._thread
        hanging.open()
        assert hanging._thread is writer
        hanging.save("2", (b"", b"x"))
        hanging.released.set()
        until_now(hanging.flush)
        hanging.close()
        until_now(lambda: hanging._thread is None)
        assert stored(hanging._path) == {"1", "2"}

    def test_a_thread_that_hung_ends_when_the_disk_answers(self, hanging: Hanging) -> None:
        """What was saved before ``close`` is written then."""
        hanging.open()
        hanging.save("1", (b"", b"x"))
        hanging.writing.wait()
        hanging.close()
        hanging.released.set()
        until_now(lambda: hanging._thread is None)
        assert stored(hanging._path) == {"1"}

    def test_a_disk_that_hangs_is_reported_once(self, path: Path, logs: list[dict[str, Any]]) -> None:
        """The metric shows that a restart will not know all peers, until the disk answers."""
        now = 0.0
        store = Hanging(path, clock=lambda: now)
        store.open()
        store.save("0", (b"", b"x"))
        store.writing.wait()
        now = HANGING + 1
        for number in range(1, 10):
            store.save(str(number), (b"", b"x"))
        assert not store.survives
        store.released.set()
        store.flush()
        assert store.survives
        store.close()
        assert [entry["event"] for entry in logs] == ["store_behind", "store_on_disk_again"]
        assert stored(path) == {str(number) for number in range(10)}

    def test_what_is_remembered_for_a_hanging_disk_is_bounded(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beyond the limit the whole dictionary is written, without the rows that were removed meanwhile."""
        monkeypatch.setattr(store_module, "MAX_CHANGES", 5)
        store = Hanging(path)
        store.open()
        store.save("0", (b"", b"x"))
        store.writing.wait()
        for number in range(100):
            store.save(str(number), (b"", b"x"))
            store.remove(str(number - 1))
        assert len(store._changed) <= 5
        store.released.set()
        store.close()
        assert stored(path) == {"99"}


READER = """
import sys
from pathlib import Path
from dmvpn_agent.bridge.certificate_table import CertificateTable
from dmvpn_agent.runtime.sqlite_file import read_file
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
for _ in range(50):
    print(len(read_file(Path(sys.argv[1]), CertificateTable.TABLE, Unreadable(Telemetry()))), flush=True)
"""


class TestOtherProcesses:
    """``plan``, ``reset``, and the agent that reads the bridge's file."""

    def test_another_process_reads_while_the_file_is_written(self, path: Path) -> None:
        """It sees whole rows, ever more of them, and the writer never fails."""
        with opened(path) as store:
            _save(store, "0")
            reader = subprocess.Popen([sys.executable, "-c", READER, path], stdout=subprocess.PIPE, text=True)
            number = 0
            while reader.poll() is None:
                number += 1
                store.save(str(number % 200), (b"", PADDING))
                store.flush()
                assert store.survives
            assert reader.stdout is not None
            counts = [int(line) for line in reader.stdout]
            assert len(counts) == 50
            assert counts == sorted(counts)
            assert counts[0] >= 1
        assert len(stored(path)) == min(number + 1, 200)

    def test_a_reader_leaves_no_file_behind(self, path: Path) -> None:
        _fill(path)
        assert len(read_file(path, TABLE, Unreadable(Telemetry()))) == 20
        assert [file.name for file in path.parent.iterdir()] == ["bridge.sqlite"]

    def test_a_file_that_is_missing_is_named(self, path: Path) -> None:
        with pytest.raises(StoreUnreadable, match="missing"):
            read_file(path, TABLE, Unreadable(Telemetry()))
        assert not path.exists()
