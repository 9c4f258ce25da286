"""Logging of both processes to standard error: one line an event, as JSON or as coloured text.

A daemon hands its lines to a thread (``running``), so that a reader that hangs or dies delays nothing. A command
writes them itself.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

import structlog

from dmvpn_agent.runtime.log_limits import FloodLimit, LineLimit, line_limit
from dmvpn_agent.runtime.log_queue import LogQueue, LogStream
from dmvpn_agent.runtime.log_settings import Log
from dmvpn_agent.runtime.printable import printable, printable_lines

STANDARD_ERROR = 2
#: Keys whose values have several lines: tracebacks.
_OF_LINES = frozenset({"exception", "stack"})

log = structlog.get_logger()


def _report(dropped: int) -> None:
    log.warning("log_lines_dropped", lines=dropped, why="standard error was read too slowly or not at all",
                do="check the program that reads this log; log_lines_dropped_total counts the lines")  # fmt: skip


class _Sink:
    """Where the lines of this process go: the queue while ``running``, standard error otherwise."""

    def __init__(self) -> None:
        self.queue: LogQueue | None = None
        self.flood = FloodLimit()

    def logger(self, *_: object) -> object:
        return _Lines(self.queue.put) if self.queue else structlog.WriteLogger(sys.stderr)


class _Lines:
    """A logger as structlog needs it: a method for each level."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = put


class _Foreign(logging.Handler):
    """Logs what libraries log; asyncio logs failed callbacks there."""

    def emit(self, record: logging.LogRecord) -> None:
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("library_message", library=record.name, text=record.getMessage(), exc_info=record.exc_info)


_sink = _Sink()


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Log by a thread inside the block; at its end the waiting lines are written within a few seconds."""
    _sink.queue = queue = LogQueue(STANDARD_ERROR, _report)
    before, sys.stderr = sys.stderr, LogStream(queue.put, STANDARD_ERROR)
    foreign = _Foreign()
    logging.getLogger().addHandler(foreign)
    queue.start()
    set_up(Log(level="info", format="json"))
    try:
        yield
    finally:
        logging.getLogger().removeHandler(foreign)
        if queue.stop():  # otherwise the next line written directly would wait for the reader
            sys.stderr, _sink.queue = before, None


def flush() -> None:
    """Wait a few seconds until the lines so far are written: the bridge is about to replace its program."""
    if _sink.queue:
        _sink.queue.flush()


def dropped() -> dict[tuple[str, ...], float]:
    """Return the number of dropped lines by cause, as samples of ``log_lines_dropped``."""
    counts = {"flood": _sink.flood.dropped, **(_sink.queue.dropped if _sink.queue else {})}
    return {(cause,): count for cause, count in counts.items()}


def _printable(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Make the texts of an event printable: the console renderer writes them as they are."""
    return {
        key: printable_lines(value) if key in _OF_LINES else printable(value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def set_up_for_command() -> None:
    """Set up the log of a command that uses parts of the agent: warnings only."""
    set_up(Log(level="warning", format="console"))


def set_up(log: Log) -> None:
    """Apply the configured level and format; a reload calls it again."""
    renderer: structlog.typing.Processor
    if log.format == "json":
        renderer = structlog.processors.JSONRenderer(default=str)
        exceptions: list[structlog.typing.Processor] = [structlog.processors.format_exc_info]
    else:
        plain = structlog.dev.plain_traceback  # rich's would print every local variable
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        exceptions = [structlog.processors.format_exc_info, _printable]
    structlog.configure(
        processors=[
            *([_sink.flood] if _sink.queue else []),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            LineLimit(line_limit(STANDARD_ERROR)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, log.level.upper())),
        logger_factory=_sink.logger,
        cache_logger_on_first_use=False,
    )
