"""Writing to a store by a thread of its own: a disk that hangs, or is locked, holds up no answer to nhrpd.

Writes are done in their order. A process that is killed loses those of the last moment; what they would have told is
asked for again, as after any loss of the store.
"""

import sqlite3
import threading
from queue import Full, Queue

import structlog

from dmvpn_agent.runtime.store import Store

log = structlog.get_logger()

#: Writes that may wait for the disk; further ones are lost.
MAX_WAITING = 10_000
#: Seconds that the end of the process, or an upgrade, waits for them.
FLUSH_TIMEOUT = 5.0

Write = tuple[str, tuple[str | bytes, ...]]


class WriteBehind:
    """A store that is written later. Reading it shows what was written by then: read before the first write."""

    def __init__(self, store: Store, *, waiting: int = MAX_WAITING, timeout: float = FLUSH_TIMEOUT) -> None:
        self._store = store
        self._timeout = timeout
        self._queue: Queue[Write | threading.Event | None] = Queue(waiting)
        self._thread: threading.Thread | None = None
        self._is_behind = False

    @property
    def db(self) -> sqlite3.Connection:
        """Return the open database, to read it."""
        return self._store.db

    @property
    def survives(self) -> bool:
        """Tell whether what is written now survives a restart."""
        return self._store.survives and not self._is_behind

    def open(self) -> None:
        """Open the store."""
        self._store.open()
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def write(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        """Have a row changed soon. Never waits."""
        try:
            self._queue.put_nowait((statement, values))
        except Full:
            if not self._is_behind:
                self._is_behind = True
                log.error("store_behind", waiting=self._queue.qsize(), why="the disk does not keep up, or hangs",
                          consequence="a restart does not know all peers; they have to register again")  # fmt: skip

    def write_back(self) -> None:
        """Wait until all is written, but not for long; what is only in memory then goes to the file, if it can."""
        if self._flush():
            self._store.write_back()

    def close(self) -> None:
        """Write what waits, as far as that goes within a few seconds, and close the store."""
        thread = self._thread
        if thread is not None:
            if not self._flush():
                log.error("store_not_closed", lost=self._queue.qsize(), why="the disk does not answer")
                return
            self._queue.put(None)
            thread.join(self._timeout)
            self._thread = None
        self._store.close()

    def _flush(self) -> bool:
        """Return whether all that waits was written in time."""
        if self._thread is None:
            return True
        written = threading.Event()
        try:
            self._queue.put(written, timeout=self._timeout)
        except Full:
            return False
        return written.wait(self._timeout)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if not isinstance(item, threading.Event):
                self._write(*item)
            if self._is_behind and self._queue.empty():
                self._is_behind = False
                log.info("store_keeps_up_again")
            if isinstance(item, threading.Event):
                item.set()

    def _write(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        try:
            self._store.write(statement, values)
        except Exception:
            log.exception("store_write_failed", consequence="a restart does not know of this change")
