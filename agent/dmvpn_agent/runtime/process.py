"""What all processes have in common: telemetry and failures; the SQLite file and the metrics port of two of them."""

import asyncio
from pathlib import Path
from typing import Any

from dmvpn_agent import __version__
from dmvpn_agent.runtime import logs, metrics
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import HttpAccess
from dmvpn_agent.runtime.loop_lag import LoopLag
from dmvpn_agent.runtime.metrics import Metric
from dmvpn_agent.runtime.process_metrics import observe_process
from dmvpn_agent.runtime.readiness import Readiness
from dmvpn_agent.runtime.sqlite_file import K, Table, V
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.supervisor import Failures, Part
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import Unreadable


class StatelessProcess:
    """One process that stores nothing.

    ``name``: the label of its build information. ``failing``: what can fail besides the parts. ``parts``: those of
    every process. ``config_read``: when it read the configuration that it has applied.
    """

    def __init__(self, name: str, failing: tuple[str, ...], clocks: Clocks) -> None:
        self.name = name
        self._clocks = clocks
        self.started = self.config_read = clocks.now()
        self.telemetry = telemetry = Telemetry(self._metric_failed)
        self.failures = Failures(telemetry, *failing)
        lag = LoopLag(telemetry)
        self.readiness = Readiness(lag.paused_for)
        self.parts = [Part("loop_lag", lag.run)]
        self.last_reload, self.reloaded = "applied", asyncio.Event()
        telemetry.expect(metrics)
        observe_process(telemetry)
        telemetry.observe(metrics.CONFIG_LAST_RELOAD, lambda: self.last_reload == "applied")
        telemetry.observe(metrics.BUILD_INFO, lambda: {(__version__, name): 1})
        telemetry.observe(metrics.LOG_LINES_DROPPED, logs.dropped)
        telemetry.observe(metrics.START_TIME, self.started.timestamp)

    def start(self) -> None:
        """Count what the callbacks of the event loop raise."""
        asyncio.get_running_loop().set_exception_handler(self.failures.callback_failed)

    def count_reload(self, outcome: str) -> None:
        """Count a reload: ``applied``, ``refused`` (the new configuration is not valid) or ``failed``."""
        self.telemetry.increment(metrics.CONFIG_RELOADS, outcome)
        self.last_reload = outcome
        if outcome == "applied":
            self.config_read = self._clocks.now()
        self.reloaded.set()

    def _metric_failed(self, metric: Metric, error: Exception) -> None:
        self.failures.note("metrics", error, metric=metric.name)


class Process(StatelessProcess):
    """One process with a SQLite file and a metrics port.

    ``database``, ``table``: what it stores. ``metrics_at``: where it serves metrics, if anywhere, and ``access`` to
    whom.
    """

    def __init__(
        self,
        name: str,
        database: Path,
        table: Table[Any, Any],
        metrics_at: Endpoint | None,
        failing: tuple[str, ...],
        clocks: Clocks,
        access: HttpAccess = HttpAccess(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(name, ("store", *failing), clocks)
        telemetry = self.telemetry
        self.store = Store(database, table, Unreadable(telemetry))
        self._others: list[Store[Any, Any]] = []
        self.readiness.add("store", lambda: "" if self.is_stored else "a state file cannot be written")
        telemetry.observe(metrics.STORE_WRITABLE, lambda: self.is_stored)
        if metrics_at:
            from dmvpn_agent.runtime.exposition import Exposition  # noqa: PLC0415  costs nothing while it is off

            exposition = Exposition(metrics_at, access, telemetry, self.readiness, name)
            self.parts.append(Part("metrics", start=exposition.start, stop=exposition.stop))

    def start(self) -> None:
        """Open the SQLite file, and count what the callbacks of the event loop raise."""
        super().start()
        with self.failures.contained("store"):
            self.store.open()

    @property
    def is_stored(self) -> bool:
        """Tell whether what the process stores survives a restart."""
        return self.store.survives and not any(other.is_behind for other in self._others)

    def add_store(self, store: Store[K, V]) -> Store[K, V]:
        """Report also a store that somebody else opens and closes; return it."""
        self._others.append(store)
        return store

    def stop(self) -> None:
        """Close the SQLite file."""
        with self.failures.contained("store"):
            self.store.close()
