"""Writing to the store without waiting for the disk."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dmvpn_agent.admission.peer_table import PeerTable
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.write_behind import WriteBehind
from factories import ADDRESS, request


class Hanging(Store):
    """Its disk answers once it is released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.released = threading.Event()

    def write(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        self.released.wait()
        super().write(statement, values)


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Hanging]:
    store = Hanging(tmp_path / "agent.sqlite")
    yield store
    store.released.set()


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """In the order of writing."""
    path = tmp_path / "agent.sqlite"
    store = WriteBehind(Store(path))
    store.open()
    table = PeerTable(store)
    table.save(request())
    table.remove(ADDRESS)
    table.save(request(interface="gre2"))
    store.close()
    again = Store(path)
    again.open()
    assert [kept.interface for kept in PeerTable(again).load()] == ["gre2"]
    again.close()


def test_a_disk_that_hangs_holds_up_nobody(hanging: Hanging) -> None:
    """Not the writer, and the end of the process not for long."""
    store = WriteBehind(hanging, timeout=0.01)
    store.open()
    PeerTable(store).save(request())
    store.write_back()
    store.close()
    assert not hanging.released.is_set()


def test_what_does_not_fit_is_lost_and_reported_once(hanging: Hanging, logs: list[dict[str, Any]]) -> None:
    """Memory is bounded; the metric says that a restart will not know everybody, until the disk is back."""
    store = WriteBehind(hanging, waiting=2)
    store.open()
    for _ in range(10):
        PeerTable(store).save(request())
    assert not store.survives
    hanging.released.set()
    store.close()
    assert [entry["event"] for entry in logs] == ["store_behind", "store_keeps_up_again"]


def test_a_write_that_fails_keeps_no_other_from_being_done(tmp_path: Path, logs: list[dict[str, Any]]) -> None:
    store = WriteBehind(Store(tmp_path / "agent.sqlite"))
    store.open()
    store.write("DELETE FROM nothing", ())
    PeerTable(store).save(request())
    store.write_back()
    assert len(list(PeerTable(store).load())) == 1
    store.close()
