"""A queue and a thread for the lines to standard error: a reader that hangs or has died delays nothing."""

import io
import os
import select
import threading
from collections.abc import Callable
from queue import SimpleQueue

#: Lines that may wait for a slow reader.
MAX_WAITING = 1000
#: Seconds that the end of the process waits for the reader.
STOP_TIMEOUT = 2.0
#: Characters without a line end after which a line is written all the same.
_MAX_TEXT = 1 << 16


class LogQueue:
    """Writes lines to a descriptor. ``waiting``: lines that may wait; further ones are dropped and counted.

    The thread calls ``report`` with the number of lines dropped since the last call when there is room again.
    """

    def __init__(self, descriptor: int, report: Callable[[int], None], *, waiting: int = MAX_WAITING) -> None:
        self._descriptor = descriptor
        self._report = report
        self._waiting = waiting
        # Not ``Queue``: a finalizer that logs may interrupt a put, and would wait for its lock.
        self._queue: SimpleQueue[bytes | threading.Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._full = self._unwritable = self._reported = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Return the number of dropped lines by cause."""
        return {"queue_full": self._full, "unwritable": self._unwritable}

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue a line. Never waits, never raises."""
        if self._queue.qsize() >= self._waiting:
            self._full += 1
        else:
            self._queue.put(line.encode(errors="backslashreplace") + b"\n")

    def flush(self, within: float = STOP_TIMEOUT) -> bool:
        """Wait up to ``within`` seconds until all lines so far are written; return whether they are."""
        written = threading.Event()
        self._queue.put(written)
        return written.wait(within)

    def stop(self, within: float = STOP_TIMEOUT) -> bool:
        """Write the waiting lines and end the thread; return whether that was done within ``within`` seconds."""
        self._queue.put(None)
        if self._thread is None:
            return True
        self._thread.join(within)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            elif not self._write(item):
                self._unwritable += 1
            elif self._queue.qsize() <= self._waiting // 2:
                self._report_dropped()

    def _report_dropped(self) -> None:
        dropped = self._full + self._unwritable
        if dropped > self._reported:
            count, self._reported = dropped - self._reported, dropped
            self._report(count)

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        try:
            while view:
                try:
                    view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:  # another process made the shared pipe or terminal non-blocking
                    self._wait_for_room()
        except OSError:
            return False
        return True

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()


class LogStream(io.TextIOBase):
    """Takes the place of ``sys.stderr``, to which libraries and Python itself print, and queues its lines."""

    def __init__(self, put: Callable[[str], None], descriptor: int) -> None:
        self._put = put
        self._descriptor = descriptor
        self._rest = ""

    def fileno(self) -> int:
        """Return the descriptor to which the lines are written."""
        return self._descriptor

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, text: str) -> int:
        """Take text, and queue each complete line."""
        *lines, rest = (self._rest + text).split("\n")
        for line in lines:
            self._put(line)
        self._rest = rest
        if len(rest) > _MAX_TEXT:
            self._rest = ""
            self._put(rest)
        return len(text)
