"""A scenario is run once, on the real daemons, when the first test asks for its report; the others read it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
TIMEOUT = 25 * 60


class Report:
    """What a run of the lab found."""

    def __init__(self, raw: dict[str, Any], folder: Path) -> None:
        self._raw = raw
        self._folder = folder

    def evidence(self, title: str, that: str, **keys: str) -> Any:
        """The evidence for one expectation of a step; the test fails if it did not become true."""
        return self._find(title, that, keys)["evidence"]

    def seconds(self, title: str, that: str, **keys: str) -> float:
        """How long after a step's actions an expectation was seen true; the test fails if it did not become true."""
        return float(self._find(title, that, keys)["after"])

    def _find(self, title: str, that: str, keys: dict[str, str]) -> dict[str, Any]:
        for step in self._raw["steps"]:
            if step["title"] != title:
                continue
            for item in step["expect"]:
                if item["that"] == that and keys.items() <= item["keys"].items():
                    assert item["true"], f"{that} {item['keys']}: {item['evidence']}; logs: {self._folder / 'logs'}"
                    found: dict[str, Any] = item
                    return found
            pytest.fail(f"{title}: {step['error'] or f'no {that} with {keys}'}; logs: {self._folder / 'logs'}")
        pytest.fail(f"not reached: {title}; {self._raw['error'] or 'an earlier step was not true'}")

    def node(self, name: str) -> dict[str, Any]:
        """What a node showed at the end."""
        node: dict[str, Any] = self._raw["nodes"][name]
        return node


@pytest.fixture(scope="session")
def report_of(request: pytest.FixtureRequest) -> Callable[[str], Report]:
    """Returns the report of a scenario by its name."""
    return cache(lambda name: _run(request, name))


def _run(request: pytest.FixtureRequest, name: str) -> Report:
    if os.geteuid() != 0:
        pytest.fail("the end to end tests need root: they make network namespaces and run the daemons in them")
    folder = CHECKOUT / ".lab" / f"{name}-e2e"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "deploy/lab")}
    run = [sys.executable, "-m", "dmvpn_lab", name, "--result", str(folder)]
    # Progress is shown, for a run takes minutes.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(flush=True)
        subprocess.run(run, cwd=CHECKOUT, env=environment, timeout=TIMEOUT, check=False)
    file = folder / "report.json"
    if not file.exists():
        pytest.fail(f"the lab wrote no report; what there is of logs lies in {folder}")
    return Report(json.loads(file.read_text()), folder)
