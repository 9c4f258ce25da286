"""The lab's scenarios, with what their nodes get before they start."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from dmvpn_agent.ca import keys
from dmvpn_lab import CHECKOUT
from dmvpn_lab.actions import ACTIONS
from dmvpn_lab.ca import issue_all
from dmvpn_lab.expectations import EXPECTATIONS
from dmvpn_lab.files import node_steps
from dmvpn_lab.issued import CA, Credentials, Issued
from dmvpn_lab.scenario import Scenario, load

NAMES = sorted(file.stem for file in (CHECKOUT / "deploy/lab/scenarios").glob("*.toml"))


@dataclass(frozen=True)
class Prepared:
    """A scenario; the certificates of each node, the latest last; the CRLs, and each node's files by path."""

    scenario: Scenario
    credentials: Mapping[str, tuple[Credentials, ...]]
    crls: tuple[bytes, ...]
    files: Mapping[str, Mapping[str, str]]


def scenario_of(name: str) -> Scenario:
    """Return a scenario of the checkout."""
    return load(CHECKOUT / f"deploy/lab/scenarios/{name}.toml", ACTIONS, EXPECTATIONS)


@cache
def prepared(name: str) -> Prepared:
    """Return a scenario with what its nodes get, made quickly."""
    scenario = scenario_of(name)
    rounds, keys._ROUNDS = keys._ROUNDS, 1000
    with TemporaryDirectory() as folder:
        try:
            issue_all(scenario, Path(folder) / CA)
        finally:
            keys._ROUNDS = rounds
        issued, names = Issued(Path(folder) / CA), [file.name for file in (Path(folder) / CA).iterdir()]
        credentials = {
            node: tuple(issued.credentials(node) for one in names if one.startswith(f"{node}."))
            for node in scenario.nodes
        }
        crls = tuple(issued.crl() for one in names if one.endswith(".crl"))
    files = {
        name: {step.path: (step.content or b"").decode() for step in node_steps(node, scenario, credentials[name][0])}
        for name, node in scenario.nodes.items()
    }
    return Prepared(scenario, credentials, crls, files)
