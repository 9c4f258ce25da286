"""A dictionary that survives a restart: rows in memory, and a thread that writes their changes to a SQLite file.

Nothing waits for the disk: a hanging disk, or a locked file, delays no answer to nhrpd. A process that is killed
loses the changes of the last moment, which it learns again, as after any loss of the file. While the file cannot be
written the process goes on in memory; the thread retries, and then writes everything.
"""

import threading
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from time import monotonic

import structlog

from dmvpn_agent.runtime.backoff import Backoff, Trouble
from dmvpn_agent.runtime.clocks import Seconds
from dmvpn_agent.runtime.sqlite_file import DATABASE_ERRORS, Row, StoreUnreadable, Table, open_file, read_file
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable

log = structlog.get_logger()

#: Seconds in which further changes join a transaction.
COALESCE = 0.01
#: Seconds before a file is tried again that could not be written: at first, and at most.
FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
#: Seconds that ``flush`` waits for the disk.
FLUSH_TIMEOUT = 5.0
#: Seconds after which a write counts as hanging.
HANGING = 10.0
#: Changed keys that are remembered while the disk hangs; beyond that, all rows are written.
MAX_CHANGES = 10_000


class Store:
    """The rows of one file by their keys, usable between ``open`` and ``close``."""

    def __init__(
        self,
        path: Path,
        table: Table,
        unreadable: Unreadable | None = None,
        *,
        timeout: float = FLUSH_TIMEOUT,
        clock: Seconds = monotonic,
    ) -> None:
        self._path = path
        self._table = table
        self._timeout = timeout
        self._clock = clock
        self._rows: dict[str, Row] = {}
        self._changed: dict[str, None] = {}  # in the order of the changes
        self._rewrites = False  # all rows are to be written
        self._unread = False  # the file may have rows that are not known here: they must not be deleted
        self._flushes = self._flushed = 0
        self._stopping = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._db: Connection | None = None
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY)
        self._trouble, self._hanging = Trouble(), Trouble()
        self._writing_since: float | None = None
        self.unreadable = unreadable or Unreadable(Telemetry())

    @property
    def survives(self) -> bool:
        """Tell whether what is saved now survives a restart."""
        return self._thread is not None and self._trouble.text is None and not self._hangs()

    def open(self) -> None:
        """Read the file, or create it. If that fails, start with what can be read, and retry later."""
        try:
            self._db = open_file(self._path, self._table)
            self._rows = self._table.read(self._db, self.unreadable)
        except (OSError, *DATABASE_ERRORS) as error:
            self._failed(error)
            try:
                self._rows = read_file(self._path, self._table, self.unreadable)
            except StoreUnreadable:
                self._unread = True
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def rows(self) -> tuple[Row, ...]:
        """Return all rows, in the order in which they were saved."""
        return tuple(self._rows.values())

    def save(self, row: Row) -> None:
        """Keep a row in place of the one with its key."""
        key = str(row[0])
        with self._condition:
            self._rows.pop(key, None)
            self._rows[key] = row
            self._note(key)

    def remove(self, key: str) -> None:
        """Forget a row; it need not be there."""
        with self._condition:
            if self._rows.pop(key, None) is not None:
                self._note(key)

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
        if not self.flush():
            log.error("store_not_closed", lost=len(self._changed), why="the disk does not answer")
            return
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        thread.join(self._timeout)
        self._thread = None

    def _note(self, key: str) -> None:
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
        while True:
            with self._condition:
                while not self._is_due():
                    self._condition.wait(self._backoff.delay if self._is_pending() else None)
                self._condition.wait_for(self._is_urgent, COALESCE)
                flushes, stopping = self._flushes, self._stopping
                rewrites, self._rewrites = self._rewrites, False
                changed, self._changed = self._rows if rewrites else self._changed, {}
                changes = {key: self._rows.get(key) for key in changed}
                self._writing_since = self._clock()
            try:
                self._write(changes, rewrites=rewrites)
            except Exception as error:
                self._failed(error)
            else:
                self._succeeded()
            with self._condition:
                self._writing_since = None
                self._flushed = flushes
                self._condition.notify_all()
            if stopping:
                self._disconnect()
                return

    def _is_pending(self) -> bool:
        return self._rewrites or bool(self._changed)

    def _is_due(self) -> bool:
        return self._is_urgent() or (self._is_pending() and not self._backoff.delay)

    def _is_urgent(self) -> bool:
        return self._stopping or self._flushed < self._flushes

    def _write(self, changes: dict[str, Row | None], *, rewrites: bool) -> None:
        if not (changes or rewrites):
            return
        if self._db is None:
            self._db = open_file(self._path, self._table)
        if self._unread:
            self._keep_unknown(self._table.read(self._db, self.unreadable))
            rewrites = False
        with self._db as db:  # one transaction
            if rewrites:
                self._table.clear(db)
            self._table.delete(db, [key for key, row in changes.items() if row is None])
            self._table.replace(db, [row for row in changes.values() if row is not None])

    def _keep_unknown(self, rows: dict[str, Row]) -> None:
        """Take up the rows of a file that could not be read at the start; the next process knows them."""
        with self._condition:
            self._rows = {key: row for key, row in rows.items() if key not in self._changed} | self._rows
            self._unread = False

    def _failed(self, error: Exception) -> None:
        self._disconnect()
        self._rewrites = True
        self._backoff.failed()
        if self._trouble.is_new("in memory"):
            log.error("store_in_memory", file=str(self._path), why=str(error),
                      consequence="a restart loses what the process learns from now on",
                      do=f"check that {self._path.parent} exists and can be written")  # fmt: skip

    def _succeeded(self) -> None:
        self._backoff.succeeded()
        if [was for was in (self._trouble.over(), self._hanging.over()) if was]:
            log.info("store_on_disk_again", file=str(self._path))

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(*DATABASE_ERRORS):
                self._db.close()
            self._db = None
