"""A damaged file is set aside; an unreadable row is skipped."""

import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.bridge.certificate_table import CertificateFile
from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.telemetry import Telemetry
from storing import fill, opened, save, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bridge.sqlite"


class TestDamage:
    """A damaged file is set aside; an unreadable row is skipped."""

    def test_a_file_that_is_not_a_database_is_set_aside(self, path: Path) -> None:
        path.write_bytes(b"no database " * 1000)
        assert stored(path) == set()
        assert path.with_suffix(".unreadable").exists()

    def test_damage_inside_the_file_is_found_at_the_start(self, path: Path, logs: list[dict[str, Any]]) -> None:
        """Its first page is in order, the others are not."""
        fill(path)
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
            save(store, "1")
        assert stored(path) == {"1"}

    def test_a_schema_that_is_not_text_is_damage(self, path: Path) -> None:
        """SQLite's message about it is not UTF-8, and sqlite3 raises ``UnicodeDecodeError``."""
        fill(path, 1)
        path.write_bytes(path.read_bytes().replace(b"spis TEXT PRIMARY KEY", b"spis TEXT PRI\xc5ARY KEY"))
        assert CertificateFile(path).load(["0"]) == {}
        assert stored(path) == set()
        assert path.with_suffix(".unreadable").exists()

    def test_a_table_that_is_dropped_while_the_process_runs_is_written_again(
        self, path: Path, logs: list[dict[str, Any]]
    ) -> None:
        """The rows are in memory."""
        with opened(path) as store:
            save(store, "1")
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("DROP TABLE certificates")
            save(store, "2")
            store.flush()
        assert stored(path) == {"1", "2"}
        assert [entry["event"] for entry in logs] == ["store_in_memory", "store_on_disk_again"]

    def test_rows_of_other_types_are_skipped(self, path: Path) -> None:
        """SQLite stores text in a BLOB column; the agent, which reads the bridge's file, skips the same rows."""
        with opened(path) as store:
            save(store, "0", "1", "2", "3", "4")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE certificates SET remote = 5 WHERE spis = '1'")
            other.execute("UPDATE certificates SET remote = 'text' WHERE spis = '2'")
            other.execute("UPDATE certificates SET remote = CAST(x'ff' AS TEXT) WHERE spis = '3'")
            other.execute("UPDATE certificates SET remote = zeroblob(10000000) WHERE spis = '4'")
        telemetry = Telemetry()
        source = CertificateFile(path, telemetry)
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
            save(store, "new")
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
        CertificateFile(path).load(["1", "2"])
        with opened(path) as store:
            save(store, "new")
            store.flush()
        assert "new" in stored(path)


@lru_cache
def _whole() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.sqlite"
        fill(path, 5)
        return path.read_bytes()
