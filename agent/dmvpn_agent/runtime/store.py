"""A dictionary that survives a restart: values in memory, and a thread that writes their changes to a SQLite file.

Nothing waits for the disk: a hanging disk, or a locked file, delays no answer to nhrpd. A process that is killed
loses the changes of the last moment, which it learns again, as after any loss of the file. While the file cannot be
written the process goes on in memory; the thread retries, and then writes everything. A row is made when it is
written, so that memory holds each value once.
"""

import threading
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from time import monotonic
from typing import Generic

import structlog

from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.clocks import Seconds
from dmvpn_agent.runtime.sqlite_file import (
    DATABASE_ERRORS,
    K,
    Row,
    StoreUnreadable,
    Table,
    V,
    is_locked,
    open_file,
    read_file,
)
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable

log = structlog.get_logger()

#: Seconds in which further changes join a transaction.
COALESCE = 0.01
#: Seconds before a file is tried again that could not be written: at first, and at most.
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
#: Seconds that ``flush`` waits for the disk.
FLUSH_TIMEOUT = 5.0
#: Seconds after which a write counts as hanging, and a file that another process has locked as not writable.
HANGING = 10.0
#: Changed keys that are remembered while the disk hangs; beyond that, all rows are written.
MAX_CHANGES = 10_000


class Store(Generic[K, V]):
    """The values of one file by their keys, usable between ``open`` and ``close``. Values do not change."""

    def __init__(
        self,
        path: Path,
        table: Table[K, V],
        unreadable: Unreadable | None = None,
        *,
        timeout: float = FLUSH_TIMEOUT,
        clock: Seconds = monotonic,
    ) -> None:
        self._path = path
        self._table = table
        self._timeout = timeout
        self._clock = clock
        self._values: dict[K, V] = {}
        self._undecoded: dict[str, Row] = {}  # of the file, in its order; they precede the values
        self._changed: dict[K, None] = {}  # in the order of the changes
        self._rewrites = False  # all rows are to be written
        self._unread = False  # the file may have rows that are not known here: they must not be deleted
        self._flushes = self._flushed = 0
        self._stopping = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._db: Connection | None = None
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY)
        self._trouble, self._hanging = Trouble(), Trouble()
        self._locked_since: float | None = None
        self._writing_since: float | None = None
        self.unreadable = unreadable or Unreadable(Telemetry())

    @property
    def survives(self) -> bool:
        """Tell whether what is saved now survives a restart."""
        return self._thread is not None and self._trouble.text is None and not self._hangs()

    @property
    def is_behind(self) -> bool:
        """Tell whether it is open, and what is saved now is lost at a restart."""
        return self._thread is not None and not self.survives

    def open(self) -> None:
        """Read the file, or create it. If that fails, start with what can be read, and retry later."""
        with self._condition:
            self._stopping = False
            if self._thread is not None:  # ``close`` gave up waiting for it: the disk hung
                return
        try:
            self._db = open_file(self._path, self._table)
            self._undecoded, self._values = self._table.read(self._db, self.unreadable), {}
        except (OSError, *DATABASE_ERRORS) as error:
            self._failed(error)
            try:
                self._undecoded, self._values = read_file(self._path, self._table, self.unreadable), {}
            except StoreUnreadable:
                self._unread = True
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def load(self) -> tuple[tuple[K, V], ...]:
        """Return all keys and values, in the order in which they were saved; an unreadable row is skipped."""
        with self._condition:
            if self._undecoded:
                self._values = dict(self._table.decoded(self._undecoded, self.unreadable)) | self._values
                decoded = {str(key) for key in self._values}
                self._undecoded = {name: row for name, row in self._undecoded.items() if name not in decoded}
            return tuple(self._values.items())

    def save(self, key: K, value: V) -> None:
        """Keep a value in place of the former one."""
        with self._condition:
            self._forget(key)
            self._values[key] = value
            self._note(key)

    def remove(self, key: K) -> None:
        """Forget a value; it need not be there."""
        with self._condition:
            if self._forget(key):
                self._note(key)

    def _forget(self, key: K) -> bool:
        undecoded = bool(self._undecoded) and self._undecoded.pop(str(key), None) is not None
        return self._values.pop(key, None) is not None or undecoded

    def flush(self) -> bool:
        """Have the thread write now what is not written; return whether it tried within a few seconds."""
        if self._thread is None:
            return True
        with self._condition:
            self._flushes += 1
            asked = self._flushes
            self._condition.notify_all()
            return self._condition.wait_for(lambda: self._flushed >= asked, self._timeout)

    def close(self) -> None:
        """Write what is not written, if that goes within a few seconds. A store that is not open stays so."""
        thread = self._thread
        if thread is None:
            return
        written = self.flush()
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if written:
            thread.join(self._timeout)
        else:
            log.error("store_not_closed", lost=len(self._changed), why="the disk does not answer")

    def _note(self, key: K) -> None:
        self._changed.pop(key, None)
        self._changed[key] = None
        if len(self._changed) > MAX_CHANGES:
            self._changed.clear()
            self._rewrites = True
        if self._hangs() and self._hanging.is_new("the disk hangs"):
            log.error("store_behind", file=str(self._path), why="the disk does not keep up, or hangs",
                      consequence="a restart loses what is not written yet")  # fmt: skip
        self._condition.notify_all()

    def _hangs(self) -> bool:
        since = self._writing_since
        return since is not None and self._clock() - since > HANGING

    def _work(self) -> None:
        ended = False
        while not ended:
            with self._condition:
                while not self._is_due():
                    self._condition.wait(self._backoff.delay if self._is_pending() else None)
                self._condition.wait_for(self._is_urgent, COALESCE)
                flushes, stopping = self._flushes, self._stopping
                rewrites, self._rewrites = self._rewrites, False
                changed, self._changed = (dict(self._values) if rewrites else self._changed), {}
                changes = {key: self._values.get(key) for key in changed}
                others = tuple(self._undecoded.values()) if rewrites else None
                self._writing_since = self._clock()
            try:
                self._write(changes, others)
            except Exception as error:
                self._failed(error)
            else:
                self._succeeded()
            if stopping:
                self._disconnect()
            with self._condition:
                self._writing_since = None
                self._flushed = flushes
                if ended := stopping and self._stopping:
                    self._thread = None
                self._condition.notify_all()

    def _is_pending(self) -> bool:
        return self._rewrites or bool(self._changed)

    def _is_due(self) -> bool:
        return self._is_urgent() or (self._is_pending() and not self._backoff.delay)

    def _is_urgent(self) -> bool:
        return self._stopping or self._flushed < self._flushes

    def _write(self, changes: dict[K, V | None], others: tuple[Row, ...] | None) -> None:
        """Write changes in one transaction; if ``others`` is given, in place of all that the file has but these."""
        if not changes and others is None:
            return
        if self._db is None:
            self._db = open_file(self._path, self._table)
        if self._unread:
            self._keep_unknown(self._table.read(self._db, self.unreadable))
            others = None
        with self._db as db:
            if others is not None:
                self._table.clear(db)
            for row in others or ():
                self._table.write(db, row)
            for key, value in changes.items():
                if value is None:
                    self._table.delete(db, str(key))
                else:
                    self._table.replace(db, key, value, self.unreadable)

    def _keep_unknown(self, rows: dict[str, Row]) -> None:
        """Take up the rows of a file that could not be read at the start; the next process knows them."""
        with self._condition:
            known = {str(key) for key in self._values.keys() | self._changed.keys()}
            self._undecoded = {key: row for key, row in rows.items() if key not in known}
            self._unread = False

    def _failed(self, error: Exception) -> None:
        self._disconnect()
        self._rewrites = True
        self._backoff.failed()
        do = f"check that {self._path.parent} exists and can be written"
        if is_locked(error):
            now = self._clock()
            self._locked_since = now if self._locked_since is None else self._locked_since
            if now - self._locked_since < HANGING:
                return
            do = "end the program that has the file locked"
        if self._trouble.is_new("in memory"):
            log.error("store_in_memory", file=str(self._path), why=str(error), do=do,
                      consequence="a restart loses what the process learns from now on")  # fmt: skip

    def _succeeded(self) -> None:
        self._backoff.succeeded()
        self._locked_since = None
        if [was for was in (self._trouble.over(), self._hanging.over()) if was]:
            log.info("store_on_disk_again", file=str(self._path))

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(*DATABASE_ERRORS):
                self._db.close()
            self._db = None
