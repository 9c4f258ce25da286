"""A disk that cannot be written, is locked, or hangs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime import store as store_module
from dmvpn_agent.runtime.store import HANGING, Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
from fakes.waiting import until_now
from storing import TABLE, Hanging, fill, keys, opened, save, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.sqlite"


@pytest.fixture
def hanging(path: Path) -> Iterator[Hanging]:
    store = Hanging(path, timeout=0.01)
    yield store
    store.released.set()


class TestDisk:
    """A disk that cannot be written, or hangs."""

    def test_a_directory_that_is_missing_is_named(self, tmp_path: Path, logs: list[dict[str, Any]]) -> None:
        """Until it exists the process goes on in memory; then everything is written."""
        path = tmp_path / "nowhere" / "bridge.sqlite"
        with opened(path) as store:
            save(store, "1", "2")
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
            save(store, "1")
            path.parent.mkdir()
            until_now(lambda: store.survives)

    def test_a_file_that_another_process_has_locked_is_not_damaged(
        self, path: Path, logs: list[dict[str, Any]]
    ) -> None:
        """The process goes on in memory, and writes what it has learned once the file is free.

        A reader has the file for a moment; it is reported if that lasts.
        """
        fill(path, 2)
        now = 0.0
        store = Store(path, TABLE, clock=lambda: now)
        store.open()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            save(store, "new")
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
            save(store, "1")
            other.execute("BEGIN IMMEDIATE")
            save(store, "2")
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
        fill(path, 2)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            store = Store(path, TABLE)
            store.open()
            other.execute("ROLLBACK")
        assert store.load() == ()
        save(store, "new")
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
