"""Running one process from its configuration file to its end: signals, start, work, stop."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import structlog

from dmvpn_agent.bridge.handover import HELD_SIGNALS
from dmvpn_agent.config.file import Config, load
from dmvpn_agent.config.values import ConfigError
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.service_manager import notify_ready
from dmvpn_agent.runtime.unix_socket import SocketInUse

log = structlog.get_logger()

#: Seconds that a process may take to stop; then it ends itself, as a program that hangs must not keep it.
STOP_LIMIT = 20.0
#: Seconds of that for the work to end.
WORK_STOP_LIMIT = 10.0


class App(Protocol):
    """What the agent and the bridge have in common."""

    async def start(self) -> None:
        """Open everything. Raises ``OSError`` or ``SocketInUse``."""

    async def run(self) -> None:
        """Do the work until cancelled."""

    async def stop(self) -> None:
        """Close everything that was opened."""

    def reload(self, config: Config) -> None:
        """Put a changed configuration in force."""

    def count_reload(self, outcome: str) -> None:
        """Count a reload by how it went."""


@runtime_checkable
class Upgradable(Protocol):
    """What can be replaced by a newer program while it runs."""

    async def upgrade(self) -> None:
        """Become the program that is installed now; returns only where that does not go."""


async def serve(build: Callable[[Config], App], file: Path) -> int:
    """Run an application until SIGTERM or SIGINT; SIGHUP rereads its configuration, SIGUSR2 upgrades what can be.

    Returns the exit status. Raises ``ConfigError`` where the configuration cannot be used at start; a bad one at
    a reload is reported, and the old one stays in force.
    """
    config = load(file)
    logs.set_up(config.log)
    app = build(config)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping)
    loop.add_signal_handler(signal.SIGHUP, _reload, app, file)
    upgrades = _Upgrades(app) if isinstance(app, Upgradable) else None
    loop.add_signal_handler(signal.SIGUSR2, upgrades.ask if upgrades else _no_upgrade)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
    try:
        await app.start()
        notify_ready()
        # What is there by now stays. Looking through it for garbage stops everything for 20 ms, in a storm above all.
        gc.freeze()
        return await _work(app, stopping)
    except (OSError, SocketInUse) as error:
        log.error("start_failed", why=str(error))
        return 1
    finally:
        await app.stop()


class _Upgrades:
    """One upgrade at a time; what is asked for meanwhile is the same one."""

    def __init__(self, app: Upgradable) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None

    def ask(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._app.upgrade())


def _stop(stopping: asyncio.Event) -> None:
    if not stopping.is_set():
        last = threading.Timer(STOP_LIMIT, _end)
        last.daemon = True
        last.start()
    stopping.set()


def _end() -> None:
    log.error("stop_took_too_long", seconds=STOP_LIMIT, consequence="the process ends at once")
    logs.flush()
    os._exit(1)


def _no_upgrade() -> None:
    log.warning("no_upgrade", why="the agent is not upgraded while it runs", do="restart it")


async def _work(app: App, stopping: asyncio.Event) -> int:
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


def _reload(app: App, file: Path) -> None:
    try:
        config = load(file)
    except ConfigError as error:
        log.error("config_refused", why=str(error), consequence="the configuration in force stays")
        app.count_reload("refused")
        return
    logs.set_up(config.log)
    try:
        app.reload(config)
    except Exception:
        log.exception("reload_failed", consequence="part of the new configuration may not be in force",
                      do="restart, and report this with the traceback")  # fmt: skip
        app.count_reload("failed")
