"""One thing that is run on a platform, how long it took, and what came of it."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_COUNTS = re.compile(r"^(?=.*\d+ (?:passed|failed|error))[\d a-z,]+ in [\d.:() s]+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing to run: ``act`` appends what it prints to the file it is given, and returns an exit status.

    ``summary``: what of its output goes into the table, nothing by default.
    """

    name: str
    act: Callable[[Path], int]
    summary: Callable[[str], str] = lambda _: ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stage that was run: the file of its output, its exit status, its time in seconds, and its summary."""

    stage: str
    log: Path
    status: int
    seconds: float
    said: str = ""


def run(stages: Iterable[Stage], folder: Path) -> Iterator[Outcome]:
    """Run the stages in order, and yield each outcome; nothing is run after one that failed."""
    for stage in stages:
        log = folder / f"{stage.name.replace(', ', '-')}.log"
        log.unlink(missing_ok=True)
        began = time.monotonic()
        status = stage.act(log)
        output = log.read_text(errors="replace")
        yield Outcome(stage.name, log, status, time.monotonic() - began, stage.summary(output))
        if status:
            return


def tests(output: str) -> str:
    """Return pytest's last line: how many tests passed, were skipped, or failed."""
    lines = [line.strip("= ") for line in output.splitlines()]
    found = [line for line in lines if _COUNTS.match(line)]
    return re.sub(r" in [\d.]+s.*$", "", found[-1]) if found else "no test was run"


def whole(output: str) -> str:
    """Return all of an output, in one line."""
    return ", ".join(line for line in output.splitlines() if line)


def checks(output: str) -> str:
    """Return how many of the checks that print a line each were true."""
    lines = output.splitlines()
    good, bad = (sum(line.startswith(word) for line in lines) for word in ("ok: ", "FAILED: "))
    return f"{good} checks passed, {bad} failed"
