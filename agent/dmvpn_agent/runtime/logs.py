"""Logging for both processes: one line an event, JSON for machines or coloured text for people, to standard error.

A running process hands its lines to a thread (``running``): whoever reads them may hang or die, and nothing waits for
it. A command writes them itself.
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
#: What has several lines: tracebacks.
_OF_LINES = frozenset({"exception", "stack"})

log = structlog.get_logger()


def _report(dropped: int) -> None:
    log.warning("log_lines_dropped", lines=dropped, why="standard error was read too slowly or not at all",
                do="look at what reads this log; log_lines_dropped_total counts on")  # fmt: skip


class _Sink:
    """Where the lines of this process go: the queue while one is running."""

    def __init__(self) -> None:
        self.queue: LogQueue | None = None
        self.flood = FloodLimit()

    def logger(self, *_: object) -> object:
        return _Lines(self.queue.put) if self.queue else structlog.WriteLogger(sys.stderr)


class _Lines:
    """What structlog wants of a logger: a method for each level."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = put


class _Foreign(logging.Handler):
    """Takes what libraries log into our log; asyncio says there what went wrong in a callback."""

    def emit(self, record: logging.LogRecord) -> None:
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("library_message", library=record.name, text=record.getMessage(), exc_info=record.exc_info)


_sink = _Sink()


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Have lines written by a thread from here on; at the end those that wait are written within a few seconds."""
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
    """Wait until the lines so far are written, but not for ever: the program is about to be replaced."""
    if _sink.queue:
        _sink.queue.flush()


def dropped() -> dict[tuple[str, ...], float]:
    """Return how many lines were dropped, by cause, as samples of ``log_lines_dropped``."""
    counts = {"flood": _sink.flood.dropped, **(_sink.queue.dropped if _sink.queue else {})}
    return {(cause,): count for cause, count in counts.items()}


def _printable(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Make the texts of an event printable: the renderer for people writes them as they are."""
    return {
        key: printable_lines(value) if key in _OF_LINES else printable(value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def set_up_for_command() -> None:
    """Have a command that uses parts of the agent say only what is wrong."""
    set_up(Log(level="warning", format="console"))


def set_up(log: Log) -> None:
    """Put the configured level and format in force; may be called again after a reload."""
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
