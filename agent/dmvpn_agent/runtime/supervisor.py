"""Runs the parts of a process: an exception in one ends neither another part nor the process.

A failure is logged with its traceback and counted, and the part is started again with back-off. Admission is not a
part: it answers from the event loop whatever the parts do.
"""

import asyncio
import inspect
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime.backoff import LASTING, Backoff, Trouble
from dmvpn_agent.runtime.clocks import Seconds
from dmvpn_agent.runtime.telemetry import Telemetry

log = structlog.get_logger()

#: Seconds before a part is started again: at first, and at most.
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
#: Seconds that a part may take to end after it was cancelled.
STOP_TIMEOUT = 5.0
#: Seconds before a failure that repeats is logged again; each is counted.
SAME_FAILURE_INTERVAL = 600.0
#: Callbacks of the event loop, which belong to no part.
CALLBACKS = "callbacks"
#: A part that raises one of these has failed: only signals end the process. ``_not_our_own`` checks cancellations.
FAILURES = (Exception, SystemExit, asyncio.CancelledError)


class PartEnded(Exception):
    """A part returned, although it should run for as long as the process."""


async def _always() -> None:
    await asyncio.Event().wait()


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Part:
    """``start`` is called once, before ``run``, which only ends when it is cancelled; ``stop`` undoes ``start``.

    ``start`` and ``stop`` may be coroutine functions.
    """

    name: str
    run: Callable[[], Awaitable[None]] = _always
    start: Callable[[], Awaitable[None] | None] = _nothing
    stop: Callable[[], Awaitable[None] | None] = _nothing


class Failures:
    """Logs and counts the failures of a process's parts. ``names``: what can fail, counted from 0."""

    def __init__(self, telemetry: Telemetry, *names: str, clock: Seconds = monotonic) -> None:
        self._telemetry = telemetry
        self._troubles = defaultdict[str, Trouble](lambda: Trouble(SAME_FAILURE_INTERVAL, clock))
        self.expect(CALLBACKS, *names)

    def expect(self, *names: str) -> None:
        """Start the counters of these names at 0."""
        for name in names:
            self._telemetry.increment(metrics.PART_FAILURES, name, by=0)

    def note(self, name: str, error: BaseException, **words: Any) -> None:
        """Count a failure, and log it with its traceback; log the same one again only after a while."""
        self._telemetry.increment(metrics.PART_FAILURES, name)
        trouble = self._troubles[name]
        if trouble.is_new(repr(error)):
            log.error("part_failed", part=name, why=trouble.text, **words, exc_info=error)

    def over(self, name: str) -> None:
        """Note that a part works again."""
        if (was := self._troubles[name].over()) is not None:
            log.info("part_recovered", part=name, after=was)

    @contextmanager
    def contained(self, name: str, *passing: type[Exception]) -> Iterator[None]:
        """Log and count an exception that ends the block; raise those in ``passing``."""
        try:
            yield
        except passing:
            raise
        except Exception as error:
            self.note(name, error)

    def callback_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log and count an exception that no code awaits; for ``loop.set_exception_handler``."""
        error = context.get("exception") or RuntimeError(context.get("message", "unknown"))
        self.note(CALLBACKS, error, what=context.get("message", ""))


class Supervisor:
    """Starts and runs parts in the order given, and stops them in the reverse order."""

    def __init__(self, parts: Sequence[Part], failures: Failures) -> None:
        self.parts = tuple(parts)
        self._failures = failures
        self._backoffs = {part.name: Backoff(FIRST_DELAY, LONGEST_DELAY) for part in parts}
        self._started: set[str] = set()
        failures.expect(*self._backoffs)

    async def start(self) -> None:
        """Start each part once; ``run`` retries those that fail."""
        for part in self.parts:
            try:
                await self._start(part)
            except FAILURES as error:
                self._failed(part, error)

    async def run(self) -> None:
        """Run all parts until cancelled."""
        tasks = [asyncio.create_task(self._keep(part), name=part.name) for part in self.parts]
        try:
            await asyncio.wait(tasks)
        finally:
            await self._cancel(tasks)

    async def stop(self) -> None:
        """Stop the started parts in reverse order, each within a limited time."""
        for part in reversed(self.parts):
            if part.name not in self._started:
                continue
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await _done(part.stop())
            except FAILURES as error:
                self._failures.note(part.name, _not_our_own(error), consequence="it is left as it is")

    async def _keep(self, part: Part) -> None:
        while True:
            await asyncio.sleep(self._backoffs[part.name].delay)
            try:
                await self._start(part)
                self._backoffs[part.name].begin()
                await self._run(part)
                raise PartEnded(f"{part.name} returned")
            except FAILURES as error:
                self._failed(part, error)

    async def _run(self, part: Part) -> None:
        lasted = asyncio.get_running_loop().call_later(LASTING, self._failures.over, part.name)
        try:
            await part.run()
        finally:
            lasted.cancel()

    async def _start(self, part: Part) -> None:
        if part.name not in self._started:
            await _done(part.start())
            self._started.add(part.name)

    def _failed(self, part: Part, error: BaseException) -> None:
        _not_our_own(error)
        delay = self._backoffs[part.name].failed()
        self._failures.note(part.name, error, consequence=f"it is started again in {delay:g} s")

    async def _cancel(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        _, hanging = await asyncio.wait(tasks, timeout=STOP_TIMEOUT)
        if hanging:
            log.error(
                "parts_hang",
                parts=sorted(task.get_name() for task in hanging),
                consequence="the process ends without them",
            )


async def _done(outcome: Awaitable[None] | None) -> None:
    if inspect.isawaitable(outcome):
        await outcome


def _not_our_own(error: BaseException) -> BaseException:
    """Return an error; raise it if it is the cancellation of the current task."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
    return error
