"""Log lines on their way to standard error: a queue and a thread. A reader that hangs or died stops nothing."""

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
#: Without a line end, so much text becomes a line.
_MAX_TEXT = 1 << 16


class LogQueue:
    """Writes lines to a descriptor. ``waiting``: lines that may wait; one more is dropped and counted.

    ``report`` is called in the thread, with the lines dropped since the last call, once there is room again.
    """

    def __init__(self, descriptor: int, report: Callable[[int], None], *, waiting: int = MAX_WAITING) -> None:
        self._descriptor = descriptor
        self._report = report
        self._waiting = waiting
        # Not ``Queue``: an object that logs as it is collected may interrupt a put, and would wait for its lock.
        self._queue: SimpleQueue[bytes | threading.Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._full = self._unwritable = self._reported = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Return how many lines were dropped, by cause."""
        return {"queue_full": self._full, "unwritable": self._unwritable}

    def start(self) -> None:
        """Start to write."""
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Have a line written. Never waits, never raises."""
        if self._queue.qsize() >= self._waiting:
            self._full += 1
        else:
            self._queue.put(line.encode(errors="backslashreplace") + b"\n")

    def flush(self, within: float = STOP_TIMEOUT) -> bool:
        """Wait until all lines so far are written, but only so many seconds; return whether they are."""
        written = threading.Event()
        self._queue.put(written)
        return written.wait(within)

    def stop(self, within: float = STOP_TIMEOUT) -> bool:
        """Write the lines that wait and end the thread; return whether the reader took them in so many seconds."""
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
    """A text stream into a queue of lines, in place of ``sys.stderr``: libraries and Python itself print there."""

    def __init__(self, put: Callable[[str], None], descriptor: int) -> None:
        self._put = put
        self._descriptor = descriptor
        self._rest = ""

    def fileno(self) -> int:
        """Return the descriptor that the lines end up in."""
        return self._descriptor

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def write(self, text: str) -> int:
        """Take text; each whole line goes into the queue."""
        *lines, rest = (self._rest + text).split("\n")
        for line in lines:
            self._put(line)
        self._rest = rest
        if len(rest) > _MAX_TEXT:
            self._rest = ""
            self._put(rest)
        return len(text)
