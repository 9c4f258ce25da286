"""The history: every decision, every change to FRR, the kernel and charon, and every peer that moved, in SQLite.

It is bounded: beyond ``LIMIT`` entries the oldest go. What repeats, as the denials of a peer that registers again and
again, is one entry with a count.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from dmvpn_agent.runtime.clocks import Clock
from dmvpn_agent.runtime.sqlite_file import MAX_TEXT, Row, Table, decode_plain, encode_plain
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.unreadable import ItemSource

#: Entries that are kept: about 600 bytes of memory each.
LIMIT = 10_000
#: How long an entry counts what repeats it; then there is a new one.
REPEATS_WITHIN = timedelta(hours=1)
#: Recent entries that may be repeated; more are not compared.
COMPARED = 2000
#: Entries that a slow reader of the stream may be behind; then it loses the oldest.
QUEUED = 1000


class EntryKind(StrEnum):
    """What an entry is about."""

    #: The agent answered nhrpd, or judged again.
    DECISION = "decision"
    #: A peer came to another stage.
    STAGE = "stage"
    #: The agent changed FRR, the kernel, charon.
    FRR = "frr"
    KERNEL = "kernel"
    CHARON = "charon"
    #: An operator gave a command over the control socket.
    OPERATOR = "operator"
    #: The agent started, stopped or was reloaded.
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Entry:
    """``peer``: its name, empty if the entry is about none. ``what``: one word. ``text``: for people.

    ``addresses``: the peer's, by which it is found too. ``count``: how often it happened, the last time at ``last``.
    """

    number: int
    time: datetime
    kind: EntryKind
    what: str
    peer: str = ""
    text: str = ""
    addresses: tuple[str, ...] = ()
    count: int = 1
    last: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {
            "number": self.number,
            "time": self.time.isoformat(timespec="milliseconds"),
            "kind": str(self.kind),
            "what": self.what,
            "peer": self.peer or None,
            "text": self.text,
            "addresses": list(self.addresses),
            "count": self.count,
            "last": self.last.isoformat(timespec="milliseconds") if self.last else None,
        }


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted. ``peers``: names and addresses, any of which matches; empty for all."""

    peers: frozenset[str] = frozenset()
    since: datetime | None = None
    denied: bool = False
    limit: int = LIMIT

    def matches(self, entry: Entry) -> bool:
        """Tell whether an entry is wanted."""
        if self.since is not None and (entry.last or entry.time) < self.since:
            return False
        if self.denied and not (entry.kind is EntryKind.DECISION and entry.what == "deny"):
            return False
        return not self.peers or entry.peer in self.peers or any(one in self.peers for one in entry.addresses)


_Subject = tuple[EntryKind, str, str, str]


class History:
    """The entries by number, kept as their rows only: they are read seldom."""

    def __init__(self, store: Store[str, Row], clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._latest: OrderedDict[_Subject, Entry] = OrderedDict()
        self._readers: list[asyncio.Queue[Entry]] = []
        self._first = self._next = 1
        self._early: list[Entry] | None = []

    def open(self) -> None:
        """Read what was stored; what was added before comes after it."""
        self._store.open()
        numbers = sorted(int(key) for key, _ in self._store.load() if key.isdecimal())
        self._first, self._next = (numbers[0], numbers[-1] + 1) if numbers else (1, 1)
        early, self._early = self._early or [], None
        for entry in early:
            self._keep(replace(entry, number=self._number()))

    def close(self) -> None:
        """Write what is not written."""
        self._store.close()

    def add(
        self, kind: EntryKind, what: str, *, peer: str = "", text: str = "", addresses: tuple[str, ...] = ()
    ) -> None:
        """Add an entry, or count it with the one that it repeats."""
        now = self._clock()
        subject = (kind, what, peer, text)
        before = self._latest.pop(subject, None)
        if before is not None and now - (before.last or before.time) <= REPEATS_WITHIN:
            entry = replace(before, count=before.count + 1, last=now)
        else:
            entry = Entry(0, now, kind, what, peer, text, addresses)
            if self._early is not None:  # the file is not read yet
                self._early.append(entry)
                return
            entry = replace(entry, number=self._number())
        self._latest[subject] = entry
        if len(self._latest) > COMPARED:
            self._latest.popitem(last=False)
        self._keep(entry)

    def find(self, wanted: Filter) -> list[Entry]:
        """Return the wanted entries, oldest first; of too many, the newest. Takes long: for a thread."""
        found = []
        for key, value in sorted(self._store.load(), key=lambda item: item[0]):
            try:
                entry = _entry((key, *value))
            except ValueError as error:
                self._store.unreadable.skip(ItemSource.HISTORY, key, f"{key!r:.100}: {error}")
                continue
            if wanted.matches(entry):
                found.append(entry)
        return found[-wanted.limit :] if wanted.limit else []

    async def follow(self) -> AsyncGenerator[Entry, None]:
        """Yield entries as they are added."""
        queue: asyncio.Queue[Entry] = asyncio.Queue(QUEUED)
        self._readers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.remove(queue)

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _keep(self, entry: Entry) -> None:
        self._store.save(_key(entry.number), _value(entry))
        while self._next - self._first > LIMIT:
            self._store.remove(_key(self._first))
            self._first += 1
        for queue in self._readers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(entry)


#: ``entry``: the fields of ``Entry`` but its number, as JSON.
TABLE = Table("history", {"number": str, "time": str, "entry": str}, ItemSource.HISTORY, encode_plain, decode_plain)


def _key(number: int) -> str:
    return f"{number:012}"


def _value(entry: Entry) -> Row:
    values = entry.as_json()
    text = json.dumps([values[name] for name in _FIELDS], separators=(",", ":"))
    if len(text) > MAX_TEXT:
        return _value(replace(entry, text=entry.text[: len(entry.text) // 2], addresses=entry.addresses[:4]))
    return values["time"], text


_FIELDS = ("kind", "what", "peer", "text", "addresses", "count", "last")


def _entry(row: Row) -> Entry:
    """Return the entry of a row. Raises ``ValueError``."""
    number, time, text = map(str, row)
    values = json.loads(text)
    if not isinstance(values, list) or len(values) != len(_FIELDS):
        raise ValueError("not the fields of an entry")
    found: Mapping[str, Any] = dict(zip(_FIELDS, values, strict=True))
    return Entry(
        int(number),
        _time(time),
        EntryKind(found["kind"]),
        str(found["what"]),
        str(found["peer"] or ""),
        str(found["text"]),
        tuple(map(str, found["addresses"])) if isinstance(found["addresses"], list) else (),
        int(found["count"]),
        _time(str(found["last"])) if found["last"] else None,
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r:.40} has no time zone")
    return moment
