"""Runs one process from its configuration file to its end: signals, start, work, stop."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from dmvpn_agent.bridge.handover import HELD_SIGNALS
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.garbage import spare_present_objects
from dmvpn_agent.runtime.log_settings import Log
from dmvpn_agent.runtime.process import StatelessProcess
from dmvpn_agent.runtime.service_manager import notify_ready
from dmvpn_agent.runtime.unix_socket import SocketInUse

log = structlog.get_logger()

#: Seconds that a process may take to stop. After that it exits, so that a program that hangs does not keep it.
STOP_LIMIT = 20.0
#: Seconds of that for the parts to end.
WORK_STOP_LIMIT = 10.0


class Configuration(Protocol):
    """What a process reads of its file."""

    @property
    def log(self) -> Log:
        """Its log."""


C = TypeVar("C", bound=Configuration)
C_contra = TypeVar("C_contra", bound=Configuration, contravariant=True)


class App(Protocol[C_contra]):
    """The agent, the bridge or the page."""

    @property
    def process(self) -> StatelessProcess:
        """Its telemetry."""

    async def start(self) -> None:
        """Open everything. Raises ``OSError`` or ``SocketInUse``."""

    async def run(self) -> None:
        """Run until cancelled."""

    async def stop(self) -> None:
        """Close everything that was opened."""

    def reload(self, wanted: C_contra) -> None:
        """Apply a changed configuration."""

    async def upgrade(self) -> None:
        """Replace this program by the installed one; return only if that is not possible."""


async def serve(build: Callable[[C], App[C]], file: Path, load: Callable[[Path], C]) -> int:
    """Run an application until SIGTERM or SIGINT; return the exit status.

    SIGHUP reads the configuration again, SIGUSR2 upgrades the program. Raises ``ConfigError`` if the configuration is
    invalid at start. An invalid one at a reload is logged, and the old one stays in force.
    """
    config = load(file)
    logs.set_up(config.log)
    app = build(config)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping)
    loop.add_signal_handler(signal.SIGHUP, _reload, app, file, load)
    loop.add_signal_handler(signal.SIGUSR2, _Upgrades(app).start)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
    try:
        await app.start()
        notify_ready()
        spare_present_objects()
        return await _work(app, stopping)
    except (OSError, SocketInUse) as error:
        log.error("start_failed", why=str(error))
        return 1
    finally:
        await app.stop()


class _Upgrades:
    """One upgrade at a time; a signal during an upgrade starts no second one."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._app.upgrade())


def _stop(stopping: asyncio.Event) -> None:
    if not stopping.is_set():
        limit = threading.Timer(STOP_LIMIT, _end)
        limit.daemon = True
        limit.start()
    stopping.set()


def _end() -> None:
    log.error("stop_took_too_long", seconds=STOP_LIMIT, consequence="the process ends at once")
    logs.flush()
    os._exit(1)


async def _work(app: App[C], stopping: asyncio.Event) -> int:
    work = asyncio.ensure_future(app.run())
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=WORK_STOP_LIMIT)
        return 0
    if (error := work.exception()) is not None:
        log.error("failed", exc_info=error)
    return 1


def _reload(app: App[C], file: Path, load: Callable[[Path], C]) -> None:
    try:
        config = load(file)
    except ConfigError as error:
        log.error("config_refused", why=str(error), consequence="the configuration in force stays")
        app.process.count_reload("refused")
        return
    logs.set_up(config.log)
    try:
        app.reload(config)
    except Exception:
        log.exception("reload_failed", consequence="part of the new configuration may not be in force",
                      do="restart, and report this with the traceback")  # fmt: skip
        app.process.count_reload("failed")
