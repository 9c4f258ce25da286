"""What survives a restart: the accepted peers."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.store import Store, StoreUnreadable
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
from factories import ADDRESS, NBMA, UNITS, certificate, decide, request
from fakes.frr import MemoryStore


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


def test_what_was_saved_last_is_loaded_last(table: PeerTable, path: Path) -> None:
    """Also what was saved before: of two peers that conflict the later one counts."""
    first, second = request(), request(protocol_address=ADDRESS + 1)
    for one in (first, second, first):
        table.save(one)
    assert _reopened(path) == [second, first]


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


ODD_VALUES: list[object] = [
    None, 0, 5, -1, 2**63 - 1, 1.5, "", "x", "10.255.0.9", b"", b"\x0a\xff\x00\x09", b"\xff\xfe", "\x1b[2J",
    "9" * 5000, b"0" * 70_000, b"0" * 200_000,
]  # fmt: skip


@given(st.lists(st.tuples(*[st.sampled_from(ODD_VALUES)] * 7), max_size=6))
def test_rows_of_any_values_are_skipped_or_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    """SQLite keeps a value of any type in any column; nothing of it costs the rows beside it, nor raises."""
    path = tmp_path_factory.mktemp("store") / "agent.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"CREATE TABLE peers ({', '.join(f'{name} {kind}' for name, kind in COLUMNS)})")
        db.executemany("INSERT INTO peers VALUES (?, ?, ?, ?, ?, ?, ?)", [*rows, GOOD])
        db.execute("PRAGMA user_version=2")
    telemetry = Telemetry()
    store = Store(path)
    store.open()
    loaded = list(PeerTable(store, Unreadable(telemetry)).load())
    store.close()
    assert loaded[-1] == request()
    assert len(loaded) + telemetry.value(metrics.UNREADABLE, "stored_peer") == len(rows) + 1
    assert all(type(one.interface) is str for one in loaded)


COLUMNS = (
    ("protocol_address", "TEXT"), ("interface", "TEXT"), ("binding_type", "TEXT"), ("nbma_address", "TEXT"),
    ("certificate", "BLOB"), ("ike_identity", "TEXT"), ("local_nbma_address", "TEXT"),
)  # fmt: skip
GOOD = (str(ADDRESS), "gre1", "dynamic", str(NBMA), certificate().der, "", "")


@pytest.mark.parametrize("place", range(7))
def test_text_that_is_no_utf_8_costs_its_row_alone(path: Path, place: int, logs: list[dict[str, Any]]) -> None:
    """sqlite3 itself raises for such a text, in whichever row."""
    values = ["?"] * 7
    values[place] = "CAST(x'fffe' AS TEXT)"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"CREATE TABLE peers ({', '.join(f'{name} {kind}' for name, kind in COLUMNS)})")
        bound = [value for number, value in enumerate(GOOD) if number != place]
        db.execute(f"INSERT INTO peers VALUES ({', '.join(values)})", bound)
        db.execute("INSERT INTO peers VALUES (?, ?, ?, ?, ?, ?, ?)", GOOD)
        db.execute("PRAGMA user_version=2")
    assert _reopened(path) == [request()]
    assert [entry["event"] for entry in logs] == ["item_unreadable"]


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE TABLE peers (other TEXT)",
        "CREATE TABLE peers (protocol_address TEXT PRIMARY KEY, interface INT)",
        "CREATE VIEW peers AS SELECT 1",
        "CREATE TABLE certificates (spis TEXT PRIMARY KEY)",
    ],
)
@pytest.mark.parametrize("version", [0, 1, 2, 3, -1])
def test_a_file_of_other_tables_is_set_aside(path: Path, schema: str, version: int) -> None:
    """Whatever version it says it has: the agent starts, with an empty memory."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(schema)
        db.execute(f"PRAGMA user_version={version}")
    assert _reopened(path) == []
    assert path.with_suffix(".unreadable").exists()


def test_the_agent_starts_though_its_memory_breaks_while_it_is_read(logs: list[dict[str, Any]]) -> None:
    """What was read before is kept."""

    class Breaking(MemoryStore):
        def load(self) -> Iterator[BindingRequest]:
            yield request()
            raise StoreUnreadable("disk I/O error")

    peers = Peers(Breaking())
    peers.load(decide, timedelta())
    assert len(peers) == 1
    assert [entry["event"] for entry in logs] == ["store_unreadable"]


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


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path, logs: list[dict[str, Any]]) -> None:
    """The operator is told which directory to make; until then the agent remembers in memory only."""
    store = Store(tmp_path / "nowhere" / "agent.sqlite")
    store.open()
    PeerTable(store).save(request())
    assert len(list(PeerTable(store).load())) == 1
    assert not store.survives
    (said,) = logs
    assert "nowhere/agent.sqlite" in said["why"]
    store.close()


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
