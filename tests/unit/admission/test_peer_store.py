"""The accepted peers survive a restart."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.peer_table import PeerTable, read_peers
from dmvpn_agent.charon.ike_peer import IkePeer
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable
from factories import ADDRESS, NBMA, UNITS, certificate, request

PeerFile = Store[Address, BindingRequest]
GOOD = (str(ADDRESS), "gre1", "dynamic", str(NBMA), certificate().der, "", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[PeerFile]:
    store = Store(path, PeerTable.TABLE)
    store.open()
    yield store
    store.close()


@pytest.fixture
def table(store: PeerFile) -> PeerTable:
    return PeerTable(store)


def _reopened(path: Path, telemetry: Telemetry | None = None) -> list[object]:
    store = Store(path, PeerTable.TABLE, Unreadable(telemetry or Telemetry()))
    store.open()
    try:
        return list(PeerTable(store).load())
    finally:
        store.close()


def test_what_was_saved_is_loaded_by_the_next_process(store: PeerFile, table: PeerTable, path: Path) -> None:
    """The whole request, with its certificate; ``plan`` reads the same while the agent runs."""
    table.save(request())
    store.flush()
    assert read_peers(path) == (request(),)
    store.close()
    assert _reopened(path) == [request()]


def test_an_address_has_one_row(table: PeerTable) -> None:
    """The latest accepted request counts."""
    table.save(request())
    renewed = request(*UNITS, "NET=192.168.9.0/24")
    table.save(renewed)
    assert list(table.load()) == [renewed]


def test_what_was_saved_last_is_loaded_last(store: PeerFile, table: PeerTable, path: Path) -> None:
    """Of two peers that conflict the later one counts, also if it was saved before."""
    first, second = request(), request(protocol_address=ADDRESS + 1)
    for one in (first, second, first):
        table.save(one)
    store.close()
    assert _reopened(path) == [second, first]


def test_a_peer_that_was_removed_is_gone(store: PeerFile, table: PeerTable, path: Path) -> None:
    """It need not be there to be removed."""
    table.save(request())
    table.remove(ADDRESS)
    table.remove(ADDRESS)
    store.close()
    assert _reopened(path) == []


def test_a_peer_with_a_pre_shared_key_is_stored_by_its_identity(
    store: PeerFile, table: PeerTable, path: Path
) -> None:
    """It has no certificate by which it can be judged again."""
    asked = request(certificate=None, ike_peers=frozenset({IkePeer("spoke7@example.net", has_certificate=False)}))
    table.save(asked)
    store.close()
    assert _reopened(path) == [asked]


def _write(path: Path, *rows: tuple[Any, ...]) -> int:
    """Write rows as another program would, and return how many there are."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(PeerTable.TABLE.create)
        db.executemany("REPLACE INTO peers VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        (count,) = db.execute("SELECT count(*) FROM peers").fetchone()
    return int(count)


def test_an_unreadable_row_is_skipped(path: Path) -> None:
    """The agent starts with the other peers."""
    _write(path, ("x", "gre1", "friendly", "y", b"\x00", "", ""), GOOD)
    assert _reopened(path) == [request()]


ODD_VALUES: list[object] = [
    0, 5, -1, 2**63 - 1, 1.5, "", "x", "10.255.0.9", b"", b"\x0a\xff\x00\x09", b"\xff\xfe", "\x1b[2J",
    "9" * 5000, b"0" * 70_000, b"0" * 200_000,
]  # fmt: skip


@given(st.lists(st.tuples(*[st.sampled_from(ODD_VALUES)] * 7), max_size=6))
def test_rows_of_any_values_are_read_or_skipped(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    """SQLite keeps a value of any type in any column. None of them raises, or costs another row."""
    path = tmp_path_factory.mktemp("store") / "agent.sqlite"
    count = _write(path, *rows, GOOD)
    telemetry = Telemetry()
    loaded = _reopened(path, telemetry)
    assert loaded[-1] == request()
    assert len(loaded) + telemetry.value(metrics.UNREADABLE, "stored_peer") == count


@pytest.mark.parametrize("place", range(7))
def test_text_that_is_not_utf_8_costs_its_row_only(path: Path, place: int, logs: list[dict[str, Any]]) -> None:
    """sqlite3 itself raises for such a text."""
    values = ["?"] * 7
    values[place] = "CAST(x'fffe' AS TEXT)"
    other = request(protocol_address=ADDRESS + 1)
    _write(path, (str(other.protocol_address), *GOOD[1:]))
    with closing(sqlite3.connect(path)) as db, db:
        bound = [value for number, value in enumerate(GOOD) if number != place]
        db.execute(f"INSERT INTO peers VALUES ({', '.join(values)})", bound)
    assert _reopened(path) == [other]
    assert [entry["event"] for entry in logs] == ["item_unreadable"]
