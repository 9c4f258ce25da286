"""The parts of a process run independently of one another."""

import asyncio
from typing import Any

import pytest

from dmvpn_agent.runtime import metrics
from dmvpn_agent.runtime import supervisor as module
from dmvpn_agent.runtime.backoff import Backoff
from dmvpn_agent.runtime.supervisor import CALLBACKS, Failures, Part, PartEnded, Supervisor
from dmvpn_agent.runtime.telemetry import Telemetry
from fakes.waiting import running, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.01)


@pytest.fixture
def failures(telemetry: Telemetry) -> Failures:
    return Failures(telemetry)


class Faulty:
    """Raises ``error``, or returns if it is ``None``, in its first ``times`` runs; then it works."""

    def __init__(self, error: BaseException | None, times: int) -> None:
        self.error = error
        self.times = times
        self.runs = 0
        self.works = False

    async def run(self) -> None:
        self.runs += 1
        if self.runs <= self.times:
            if self.error is not None:
                raise self.error
            return
        self.works = True
        try:
            await asyncio.Event().wait()
        finally:
            self.works = False


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a mistake"), IndexError("cut off"), RecursionError(), MemoryError(), SystemExit(3),
        asyncio.CancelledError(), OSError(24, "Too many open files"), TimeoutError(), None,
    ],
    ids=repr,
)  # fmt: skip
async def test_a_part_that_fails_is_started_again_and_the_others_continue(
    telemetry: Telemetry, failures: Failures, error: BaseException | None
) -> None:
    """Whatever it raises, and also if it returns."""
    faulty, other = Faulty(error, 2), Faulty(None, 0)
    supervisor = Supervisor([Part("faulty", faulty.run), Part("other", other.run)], failures)
    async with running(supervisor.run()):
        await until(lambda: faulty.works)
        assert other.works
    assert (faulty.runs, other.runs) == (3, 1)
    assert telemetry.samples(metrics.PART_FAILURES) == {(CALLBACKS,): 0, ("faulty",): 2, ("other",): 0}


async def test_the_same_failure_is_logged_once_with_its_traceback(
    failures: Failures, logs: list[dict[str, Any]]
) -> None:
    faulty = Faulty(RuntimeError("a mistake"), 10)
    async with running(Supervisor([Part("faulty", faulty.run)], failures).run()):
        await until(lambda: faulty.works)
    (failed,) = [entry for entry in logs if entry["event"] == "part_failed"]
    assert (failed["part"], failed["exc_info"]) == ("faulty", faulty.error)


async def test_a_start_that_fails_is_retried(failures: Failures) -> None:
    """The other parts start; its own ``run`` waits for the start."""
    order: list[str] = []

    def start() -> None:
        order.append("start")
        if len(order) < 4:
            raise OSError("taken")

    part = Part("metrics", Faulty(None, 0).run, start=start, stop=lambda: order.append("stop"))
    supervisor = Supervisor([part, Part("other", start=lambda: order.append("other"))], failures)
    await supervisor.start()
    assert order == ["start", "other"]
    async with running(supervisor.run()):
        await until(lambda: order.count("start") == 3)
    await supervisor.stop()
    assert order == ["start", "other", "start", "start", "stop"]


async def test_a_part_that_did_not_start_is_not_stopped(failures: Failures) -> None:
    """Its socket may be another process's."""
    stopped: list[int] = []
    supervisor = Supervisor([Part("control", start=lambda: 1 / 0, stop=lambda: stopped.append(1))], failures)  # type: ignore[arg-type,return-value]
    await supervisor.start()
    await supervisor.stop()
    assert not stopped


async def test_a_stop_that_fails_or_hangs_does_not_keep_other_parts_from_stopping(
    failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.01)
    stopped: list[int] = []

    async def hang() -> None:
        await asyncio.Event().wait()

    def fail() -> None:
        raise RuntimeError

    supervisor = Supervisor(
        [Part("first", stop=lambda: stopped.append(1)), Part("hangs", stop=hang), Part("fails", stop=fail)], failures
    )
    await supervisor.start()
    await supervisor.stop()
    assert stopped == [1]


async def test_a_part_that_does_not_end_does_not_keep_the_process(
    failures: Failures, monkeypatch: pytest.MonkeyPatch, logs: list[dict[str, Any]]
) -> None:
    """It ignores its cancellation; the log names it."""
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.01)
    stuck, release = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        stuck.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(Supervisor([Part("stubborn", stubborn)], failures).run())
    await stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert [entry["parts"] for entry in logs if entry["event"] == "parts_hang"] == [["stubborn"]]


async def test_a_part_that_waits_for_its_back_off_ends_at_once(failures: Failures) -> None:
    """SIGTERM does not wait for the back-off."""
    faulty = Faulty(RuntimeError(), 10**6)
    supervisor = Supervisor([Part("faulty", faulty.run)], failures)
    supervisor._backoffs["faulty"] = Backoff(3600, 3600)
    task = asyncio.create_task(supervisor.run())
    await until(lambda: faulty.runs)
    task.cancel()
    await asyncio.wait({task})
    assert faulty.runs == 1


async def test_an_exception_in_a_callback_is_counted_and_logged(
    telemetry: Telemetry, failures: Failures, logs: list[dict[str, Any]]
) -> None:
    """The event loop calls it, and no task awaits it."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(failures.callback_failed)
    loop.call_soon(lambda: 1 / 0)
    await until(lambda: telemetry.value(metrics.PART_FAILURES, CALLBACKS))
    assert [entry["part"] for entry in logs] == [CALLBACKS]


def test_a_failure_is_logged_again_after_a_while(telemetry: Telemetry, logs: list[dict[str, Any]]) -> None:
    """A failure that lasts for days stays visible."""
    now = [0.0]
    failures = Failures(telemetry, clock=lambda: now[0])
    for moment in (0, 1, 599, 601, 602):
        now[0] = moment
        failures.note("part", PartEnded("x"))
    assert len(logs) == 2
    assert telemetry.value(metrics.PART_FAILURES, "part") == 5


def test_contained_raises_the_exceptions_that_the_caller_handles(telemetry: Telemetry, failures: Failures) -> None:
    with failures.contained("part", OSError):
        raise IndexError
    with pytest.raises(OSError, match="x"), failures.contained("part", OSError):
        raise OSError("x")
    assert telemetry.value(metrics.PART_FAILURES, "part") == 1
