"""A running lab: the nodes of a scenario on one machine, and its steps, done and observed one after another."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vici.exception import SessionException

from dmvpn_lab import wiring
from dmvpn_lab.issued import CA, FILES, Credentials, Issued
from dmvpn_lab.namespace import CommandError, Namespace
from dmvpn_lab.node import LabNode
from dmvpn_lab.observation import Observation
from dmvpn_lab.pings import Stream
from dmvpn_lab.scenario import Scenario, Step

POLL_SECONDS = 0.25
# The errors of reading from a daemon that is starting or stopping.
NOT_NOW = (CommandError, OSError, SessionException, KeyError, ValueError)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One expectation, as the scenario states it, and what was observed last.

    ``after`` is how many seconds after the step's actions it was seen to be true, and true ever since.
    """

    expectation: Any
    observation: Observation
    after: float | None


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """A step, how long it took in seconds, and what failed before anything could be observed, if so."""

    step: Step
    seconds: float
    outcomes: Sequence[Outcome]
    error: str | None

    @property
    def true(self) -> bool:
        """Whether everything expected became true."""
        return self.error is None and all(outcome.observation.true for outcome in self.outcomes)


class Lab:
    """Runs a scenario. What actions leave for expectations is in the public attributes after ``nodes``."""

    def __init__(self, scenario: Scenario, prepared: Path, work: Path, say: Say) -> None:
        """``prepared``: the folder with what was prepared (``dmvpn_lab.prepare``)."""
        self.issued = Issued(prepared / CA)
        self.scenario = scenario
        self._work = work
        crl = self.issued.crl()
        self.nodes = {
            name: LabNode(node, scenario, prepared / FILES / name, crl, work) for name, node in scenario.nodes.items()
        }
        for name in scenario.nodes:
            self.credentials(name)
        self.remembered: dict[tuple[str, str | None], dict[str, Any]] = {}
        self.forged: dict[tuple[str, str, str], tuple[int, int]] = {}
        self.replies: dict[tuple[str, str, bool], tuple[int, dict[int, int]]] = {}
        self.traffic: dict[tuple[str, str], Stream] = {}
        self.collisions: list[dict[str, Any]] = []
        self._routers = {name: Namespace(name) for name in scenario.routers}
        self._say = say

    def credentials(self, name: str) -> Credentials:
        """A node's next certificate, which is its own from now on."""
        credentials = self.issued.credentials(name)
        file = self._work / "certificates" / f"{name}.pem"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(credentials.certificate)
        return credentials

    def start(self) -> None:
        """Bring up the internet, the routers and every node that is not late. Raises ``CommandError``."""
        wiring.make_internet()
        for name, space in self._routers.items():
            space.start()
            wiring.attach_router(self.scenario.routers[name], space, self.scenario)
        self.start_nodes([name for name, node in self.scenario.nodes.items() if not node.late])

    def start_nodes(self, names: Sequence[str]) -> None:
        """Start nodes side by side. Raises ``CommandError`` for the first that fails."""
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            list(pool.map(self._start_node, names))

    def _start_node(self, name: str) -> None:
        for done in self.nodes[name].start(self._router_of(name), self._backup_of(name)):
            self._say(f"  {name}: {done}")

    def power_off(self, name: str) -> None:
        """End a node at once."""
        self.nodes[name].power_off(self._router_of(name))

    def _router_of(self, name: str) -> Namespace | None:
        behind = self.scenario.nodes[name].behind
        return self._routers[behind] if behind else None

    def _backup_of(self, name: str) -> Namespace | None:
        backup = self.scenario.nodes[name].backup
        return self._routers[backup] if backup else None

    def run(self, step: Step) -> StepOutcome:
        """Do a step's actions, then wait until all its expectations are true at once."""
        begin = time.monotonic()
        try:
            for action in step.do:
                action.perform(self)
        except NOT_NOW as error:
            return StepOutcome(step, time.monotonic() - begin, (), f"{action}: {error}")
        acted = time.monotonic()
        outcomes: list[Outcome] = []
        waiting: str | None = None
        while True:
            outcomes = self._look(step, acted, outcomes)
            lacking = next((outcome for outcome in outcomes if not outcome.observation.true), None)
            if lacking is None or time.monotonic() > acted + step.seconds:
                return StepOutcome(step, time.monotonic() - begin, outcomes, None)
            if waiting != (waiting := _text(lacking.expectation)):
                self._say(f"  waiting for {waiting}")
            time.sleep(POLL_SECONDS)

    def _look(self, step: Step, acted: float, before: Sequence[Outcome]) -> list[Outcome]:
        outcomes = []
        for number, expectation in enumerate(step.expect):
            observation = self._observe(expectation)
            after = (before[number].after if before else None) if observation.true else None
            if observation.true and after is None:
                after = time.monotonic() - acted
            outcomes.append(Outcome(expectation, observation, after))
        return outcomes

    def _observe(self, expectation: Any) -> Observation:
        try:
            observation: Observation = expectation.observe(self)
        except NOT_NOW as error:
            return Observation(False, f"{type(error).__name__}: {error}")
        return observation


def _text(expectation: Any) -> str:
    keys = ", ".join(f"{key} {value}" for key, value in asdict(expectation).items() if value is not None)
    return f"{type(expectation).__name__}: {keys}"
