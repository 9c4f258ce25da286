"""What survives a restart: the accepted peers."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.adapters.store import PeerTable, Store
from dmvpn_agent.core.model import IkePeer
from factories import ADDRESS, NBMA, UNITS, certificate, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sqlite"


@pytest.fixture
def table(path: Path) -> Iterator[PeerTable]:
    store = Store(path)
    store.open()
    yield PeerTable(store)
    store.close()


def _reopened(path: Path) -> list[object]:
    store = Store(path)
    store.open()
    try:
        return list(PeerTable(store).load())
    finally:
        store.close()


def test_what_was_saved_is_loaded_by_the_next_process(table: PeerTable, path: Path) -> None:
    """The request with its certificate, whole."""
    table.save(request())
    assert _reopened(path) == [request()]


def test_an_address_has_one_row(table: PeerTable, path: Path) -> None:
    """The latest accepted request counts."""
    table.save(request())
    renewed = request(*UNITS, "NET=192.168.9.0/24")
    table.save(renewed)
    assert _reopened(path) == [renewed]


def test_what_was_removed_is_gone(table: PeerTable, path: Path) -> None:
    """Removing twice is as good as once."""
    table.save(request())
    table.remove(ADDRESS)
    table.remove(ADDRESS)
    assert _reopened(path) == []


def test_a_row_that_cannot_be_read_is_left_out(table: PeerTable, path: Path) -> None:
    """One bad row does not keep the agent from starting."""
    table.save(request())
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO peers VALUES ('x', 'gre1', 'friendly', 'y', x'00', '', '')")
    assert _reopened(path) == [request()]


def test_a_peer_with_a_pre_shared_key_is_kept_by_its_identity(table: PeerTable, path: Path) -> None:
    """It has no certificate to be judged by again."""
    asked = request(certificate=None, ike_peers=frozenset({IkePeer("spoke7@example.net", has_certificate=False)}))
    table.save(asked)
    assert _reopened(path) == [asked]


def test_the_file_of_an_older_release_is_taken_over(path: Path) -> None:
    """An upgrade forgets nobody: nhrpd would not ask again for hours."""
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE peers (protocol_address TEXT PRIMARY KEY, interface TEXT NOT NULL,"
            " binding_type TEXT NOT NULL, nbma_address TEXT NOT NULL, certificate BLOB NOT NULL)"
        )
        database.execute(
            "INSERT INTO peers VALUES (?, 'gre1', 'dynamic', ?, ?)", (str(ADDRESS), str(NBMA), certificate().der)
        )
        database.execute("PRAGMA user_version=1")
    assert _reopened(path) == [request()]
    assert _reopened(path) == [request()]


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """The operator is told which directory to make."""
    with pytest.raises(OSError, match=r"nowhere/agent\.sqlite"):
        Store(tmp_path / "nowhere" / "agent.sqlite").open()


def test_a_broken_file_is_set_aside(path: Path) -> None:
    """It is a memory, not a record: the agent starts with an empty one, and the broken file can be looked at."""
    path.write_bytes(b"no database " * 1000)
    assert _reopened(path) == []
    assert path.with_suffix(".unreadable").exists()


def test_closing_what_was_not_opened_is_nothing(path: Path) -> None:
    """A start that failed half-way can be stopped."""
    Store(path).close()


def test_a_failed_write_is_said_once_and_not_raised(table: PeerTable, path: Path, logs: list[dict[str, Any]]) -> None:
    """A full disk or a locked file costs no decision."""
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE peers")
    table.save(request())
    table.remove(ADDRESS)
    assert [entry["event"] for entry in logs] == ["store_in_memory"]
