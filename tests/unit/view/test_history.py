"""The history: what is kept, what repeats, and what is found."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from dmvpn_agent.runtime.store import Store
from dmvpn_agent.view.history import TABLE, EntryKind, Filter, History
from factories import NOW, Clock


def _history(path: Path, clock: Clock) -> History:
    history = History(Store(path / "history.sqlite", TABLE), clock)
    history.open()
    return history


@pytest.fixture
def history(tmp_path: Path, clock: Clock) -> Iterator[History]:
    history = _history(tmp_path, clock)
    yield history
    history.close()


def _deny(history: History, peer: str, text: str = "no") -> None:
    history.add(EntryKind.DECISION, "deny", peer=peer, text=text, addresses=("10.255.0.2",))


def test_entries_survive_a_restart(history: History, tmp_path: Path, clock: Clock) -> None:
    """In their order; what came before the file was read follows."""
    _deny(history, "spoke1")
    history.add(EntryKind.FRR, "bgpd", peer="spoke2", text="neighbor")
    before = history.find(Filter())
    history.close()
    again = History(Store(tmp_path / "history.sqlite", TABLE), clock)
    again.add(EntryKind.AGENT, "started")
    again.open()
    assert again.find(Filter())[:2] == before
    assert [entry.what for entry in again.find(Filter())] == ["deny", "bgpd", "started"]


def test_what_repeats_is_counted(history: History, clock: Clock) -> None:
    """For an hour after the last time; another text is another entry."""
    for _ in range(3):
        clock.advance(3000)
        _deny(history, "spoke1")
    _deny(history, "spoke1", "another reason")
    clock.advance(3601)
    _deny(history, "spoke1")
    entries = history.find(Filter())
    assert [(entry.text, entry.count) for entry in entries] == [("no", 3), ("another reason", 1), ("no", 1)]
    assert entries[0].last == NOW + timedelta(seconds=9000)


def test_the_oldest_entries_go(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, in memory and in the file."""
    monkeypatch.setattr("dmvpn_agent.view.history.LIMIT", 3)
    for number in range(7):
        history.add(EntryKind.AGENT, f"x{number}")
    assert [entry.what for entry in history.find(Filter())] == ["x4", "x5", "x6"]


def test_entries_are_found_by_peer_address_time_and_denial(history: History, clock: Clock) -> None:
    """Each filter alone, and the newest of too many."""
    _deny(history, "spoke1")
    clock.advance(10)
    history.add(EntryKind.STAGE, "up", peer="spoke2")

    def whats(wanted: Filter) -> list[str]:
        return [entry.what for entry in history.find(wanted)]

    assert whats(Filter(frozenset({"spoke2"}))) == ["up"]
    assert whats(Filter(frozenset({"10.255.0.2"}))) == ["deny"]
    assert whats(Filter(since=NOW + timedelta(seconds=5))) == ["up"]
    assert whats(Filter(denied=True)) == ["deny"]
    assert whats(Filter(limit=1)) == ["up"]


def test_a_long_text_is_cut_and_a_damaged_row_is_skipped(history: History, tmp_path: Path, clock: Clock) -> None:
    """A row of the file is bounded."""
    history.add(EntryKind.FRR, "bgpd", text="ü" * 5000, addresses=tuple(f"10.255.0.{n}" for n in range(99)))
    history.close()
    store = Store(tmp_path / "history.sqlite", TABLE)
    store.open()
    for number, row in enumerate(("[]", "x", '["dance","x",null,"",[],1,null]', "[" * 500)):
        store.save(f"{900 + number:012}", (NOW.isoformat(), row))
    store.save("000000000950", ("2026-03-01T12:00", '["stage","up",null,"",[],1,null]'))
    store.close()
    again = _history(tmp_path, clock)
    (entry,) = again.find(Filter())
    assert 100 < len(entry.text) < 1024
    again.add(EntryKind.AGENT, "x")
    assert again.find(Filter())[-1].number == 951


async def test_entries_are_followed(history: History) -> None:
    """A reader that is slow loses the oldest ones."""
    follower = history.follow()
    first = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    history.add(EntryKind.AGENT, "one")
    assert (await first).what == "one"
    for number in range(1500):
        history.add(EntryKind.AGENT, f"x{number}")
    assert (await anext(follower)).what == "x500"
    await follower.aclose()
