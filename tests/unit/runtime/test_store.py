"""The store: what a restart knows, the file, and other processes that read it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dmvpn_agent.runtime.sqlite_file import StoreUnreadable, delete_file, read_file
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
from storing import PADDING, TABLE, fill, opened, save, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.sqlite"


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
            save(store, "a", "b")
            save(store, "a")
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
        fill(path, 200)
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
            fill(path)
        finally:
            os.umask(before)
        assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {"bridge.sqlite": 0o600}

    def test_a_file_that_others_can_read_is_closed_to_them(self, path: Path) -> None:
        """A restored backup may be readable."""
        fill(path)
        path.chmod(0o644)
        fill(path)
        assert path.stat().st_mode & 0o777 == 0o600

    def test_it_is_deleted_with_its_journal(self, path: Path) -> None:
        """A file that does not exist is no error."""
        fill(path)
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
            save(store, "0")
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
        fill(path)
        assert len(read_file(path, TABLE, Unreadable(Telemetry()))) == 20
        assert [file.name for file in path.parent.iterdir()] == ["bridge.sqlite"]

    def test_a_file_that_is_missing_is_named(self, path: Path) -> None:
        with pytest.raises(StoreUnreadable, match="missing"):
            read_file(path, TABLE, Unreadable(Telemetry()))
        assert not path.exists()
