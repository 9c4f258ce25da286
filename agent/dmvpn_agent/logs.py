"""Logging for both processes: one line an event, JSON for machines or coloured text for people, to standard error."""

import logging
import sys

import structlog

from dmvpn_agent.config import Log


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
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        exceptions = []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, log.level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
