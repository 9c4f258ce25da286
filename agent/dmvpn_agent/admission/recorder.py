"""Writes the file of recorded events, for ``replay``. No answer waits for it, and its failure stops nothing else.

A thread writes the lines, so a stalled disk delays no answer. Events that do not fit into its queue are left out and
counted. A file that cannot be written, or has reached its limit, ends the recording and not the agent.
"""

import errno
import os
import stat
import threading
from pathlib import Path
from queue import Full, Queue

import structlog

from dmvpn_agent.admission import recording
from dmvpn_agent.admission.decision_record import DecisionRecord

log = structlog.get_logger()

MAX_FILE_BYTES = 1 << 30
MAX_WAITING = 10_000
#: Do not follow a link, and do not wait for a reader of a pipe.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: Seconds that the agent waits at its end for the lines still to be written.
STOP_TIMEOUT = 5.0


class Recorder:
    """Appends to one file between ``start`` and ``stop``. ``limit``: largest size of the file in bytes."""

    def __init__(self, path: Path, *, limit: int = MAX_FILE_BYTES, waiting: int = MAX_WAITING) -> None:
        self._path = path
        self._limit = limit
        self._queue: Queue[recording.Recorded | None] = Queue(waiting)
        self._thread: threading.Thread | None = None
        self._size = 0
        self._left_out = 0
        self._ended = False

    def start(self) -> None:
        """Open the file, for its owner only. Raises ``OSError`` with the path."""
        descriptor = os.open(self._path, _FLAGS, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "can record into a plain file only", str(self._path))
        os.fchmod(descriptor, 0o600)
        self._size = status.st_size
        self._thread = threading.Thread(target=self._work, args=(descriptor,), name="recorder", daemon=True)
        self._thread.start()
        log.info("recording", file=str(self._path), bytes=self._size, limit=self._limit)

    def record(self, message: bytes, decided: DecisionRecord) -> None:
        """Record an event: nhrpd's message and the decision. Never waits, never raises."""
        if self._ended or self._thread is None:
            return
        request = decided.request
        ike_peers = request.ike_peers if request is not None else None
        recorded = recording.Recorded(decided.time, message, ike_peers, recording.outcome(decided.decision))
        try:
            self._queue.put_nowait(recorded)
        except Full:
            if not self._left_out:
                log.warning("recording_behind", file=str(self._path), why="the file is written too slowly",
                            consequence="some events are not recorded")  # fmt: skip
            self._left_out += 1

    def stop(self) -> None:
        """Write what waits, for at most a few seconds, and close the file."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._queue.put(None, timeout=STOP_TIMEOUT)
        except Full:
            log.warning("recording_unfinished", file=str(self._path), lost=self._queue.qsize())
            return
        thread.join(STOP_TIMEOUT)
        log.info("recording_closed", file=str(self._path), bytes=self._size, left_out=self._left_out)

    def _work(self, descriptor: int) -> None:
        try:
            while (recorded := self._queue.get()) is not None:
                self._write(descriptor, recorded)
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, recorded: recording.Recorded) -> None:
        if self._ended:
            return
        try:
            line = recording.write(recorded)
            if self._size + len(line) > self._limit:
                self._end(f"the file has reached its limit of {self._limit} bytes")
                return
            written = os.write(descriptor, line)
            self._size += written
            if written < len(line):
                self._end("only part of the last line could be written")
        except Exception as error:
            self._end(str(error))

    def _end(self, why: str) -> None:
        self._ended = True
        log.error(
            "recording_ended",
            file=str(self._path),
            why=why,
            consequence="nothing more is recorded; the agent continues",
        )
