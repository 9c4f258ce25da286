"""``python -m fuzz --inputs N [--seed S] [--jobs J]`` with ``tests`` on the path: a campaign over what reads input.

Prints a line every few seconds, every finding as it comes with its input in hexadecimal, and ends with status 1 where
there was any. The same seed makes the same inputs, with any number of jobs.
"""

import argparse
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from random import Random
from typing import Protocol

import structlog

from fuzz.cache_target import Authorities, Cache, Crls
from fuzz.enrolment_target import ScepMessages
from fuzz.http_targets import (
    CaFiles,
    Candidates,
    CaRequests,
    DistributionPoints,
    EstAnswers,
    RenewalStates,
    Urls,
)
from fuzz.program_targets import (
    Answers,
    BgpSummary,
    Configuration,
    Handovers,
    Nft,
    NhrpCache,
    NodeText,
    Recordings,
    Settings,
)
from fuzz.socket_targets import ControlRequests, FailureLogs, HttpRequests
from fuzz.targets import AddressBlocks, AsIdentifiers, Certificates, Events, Vici

#: Inputs of one task.
CHUNK = 5000
#: Seconds of processor time that no input may take. The largest inputs there are take a fraction of it.
LIMIT = 1.0
REPORT_SECONDS = 10.0


class Target(Protocol):
    """A reader: what it is given, and what must be true of the answer."""

    def make(self, random: Random) -> bytes:
        """Return an input."""

    def check(self, data: bytes, random: Random) -> bool:
        """Read it; tell whether it was understood. Raises where something is not as it must be."""


@lru_cache
def _targets() -> tuple[Target, ...]:
    """Return the targets; those whose input anybody can choose stand several times."""
    certificates, cache, events = Certificates(), Cache(), Events()
    return (
        *[certificates] * 4, *[cache] * 4, *[events] * 2, AddressBlocks(), AsIdentifiers(), Vici(), Crls(),
        Authorities(), Configuration(), NhrpCache(), BgpSummary(), Nft(), NodeText(), Recordings(), Handovers(),
        Settings(), Answers(), EstAnswers(), Candidates(), DistributionPoints(), Urls(), RenewalStates(),
        CaRequests(), CaFiles(), ScepMessages(), FailureLogs(), ControlRequests(), HttpRequests(),
    )  # fmt: skip


@dataclass
class Tally:
    """What came of some inputs."""

    inputs: Counter[str] = field(default_factory=Counter)
    understood: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest: tuple[float, str, int] = (0.0, "", 0)

    def add(self, other: "Tally") -> None:
        """Take in what came of others."""
        self.inputs += other.inputs
        self.understood += other.understood
        self.findings += other.findings
        self.slowest = max(self.slowest, other.slowest)

    def __str__(self) -> str:
        seconds, target, size = self.slowest
        counts = ", ".join(
            f"{name} {self.understood[name]} of {count}" for name, count in sorted(self.inputs.items())
        )
        return (
            f"understood: {counts}; slowest {seconds * 1e3:.1f} ms ({target}, {size} bytes);"
            f" findings: {len(self.findings)}"
        )


def run(seed: int, chunk: int, count: int) -> Tally:
    """Run one task's inputs."""
    warnings.simplefilter("ignore")
    with structlog.testing.capture_logs():
        return _run(Random(f"{seed}/{chunk}"), count)


def _run(random: Random, count: int) -> Tally:
    tally = Tally()
    for _ in range(count):
        target = random.choice(_targets())
        name = type(target).__name__
        data = target.make(random)
        started = time.process_time()
        try:
            if target.check(data, random):
                tally.understood[name] += 1
        except KeyboardInterrupt:
            raise
        except BaseException:  # a panic in cryptography's Rust is no Exception
            tally.findings.append(f"{name} {data.hex()}\n{traceback.format_exc()}")
        took = time.process_time() - started
        if took > LIMIT:
            tally.findings.append(f"{name} {data.hex()}\ntook {took:.2f} s")
        tally.inputs[name] += 1
        tally.slowest = max(tally.slowest, (took, name, len(data)))
    return tally


def _tasks(seed: int, inputs: int) -> Iterator[tuple[int, int, int]]:
    for chunk, start in enumerate(range(0, inputs, CHUNK)):
        yield seed, chunk, min(CHUNK, inputs - start)


def campaign(inputs: int, seed: int, jobs: int) -> Tally:
    """Run all inputs and say how it goes."""
    total, began = Tally(), time.monotonic()
    reported, tasks = began, _tasks(seed, inputs)
    with ProcessPoolExecutor(jobs) as pool:
        running: set[Future[Tally]] = {pool.submit(run, *task) for task in islice(tasks, 2 * jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(run, *task) for task in islice(tasks, len(done))}
            for future in done:
                tally = future.result()
                for finding in tally.findings:
                    print(f"FINDING {finding}", flush=True)
                total.add(tally)
            now = time.monotonic()
            if now - reported >= REPORT_SECONDS or not running:
                reported, count = now, total.inputs.total()
                print(f"{count} of {inputs} inputs, {count / (now - began):.0f}/s; {total}", flush=True)
    return total


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    total = campaign(arguments.inputs, arguments.seed, arguments.jobs)
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
