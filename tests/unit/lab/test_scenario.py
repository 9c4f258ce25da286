"""Scenario files: what they may say, and what an error names."""

import copy
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from dmvpn_lab import scenario
from dmvpn_lab.actions import ACTIONS, Restart
from dmvpn_lab.expectations import EXPECTATIONS, Decision
from dmvpn_lab.tables import ScenarioError

FILES = sorted((Path(__file__).parents[3] / "deploy/lab/scenarios").glob("*.toml"))

MINIMAL: dict[str, Any] = {
    "networks": {"internet": "203.0.113.0/24", "tunnel": "10.255.0.0/24", "allowed": "192.168.0.0/16"},
    "routers": {"nat": {"outside": "203.0.113.50", "inside": "172.16.0.1/24"}},
    "nodes": {
        "hub": {
            "role": "hub",
            "nbma_address": "203.0.113.1",
            "protocol_address": "10.255.0.1",
            "as_number": 65000,
            "lan": "192.168.0.0/24",
        }
    },
    "steps": [
        {
            "title": "one",
            "do": [{"action": "restart", "node": "hub", "daemon": "agent"}],
            "expect": [{"that": "decision", "on": "hub", "decision": "deny", "protocol_address": "10.255.0.9"}],
        }
    ],
}


SECOND = {
    "hub": "hub",
    "nbma_address": "203.0.113.2",
    "protocol_address": "10.254.0.1",
    "network": "10.254.0.0/24",
}


def _parse(raw: dict[str, Any]) -> scenario.Scenario:
    return scenario.parse("test", raw, ACTIONS, EXPECTATIONS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_committed_scenarios_are_valid(file: Path) -> None:
    """Every scenario of the repository can be read."""
    assert scenario.load(file, ACTIONS, EXPECTATIONS).steps


def test_tables_become_values() -> None:
    """Addresses are parsed, and each action and expectation is what its tag names."""
    step = _parse(MINIMAL).steps[0]
    assert step.do == (Restart("hub", "agent", "TERM"),)
    assert step.expect == (Decision("hub", "deny", IPv4Address("10.255.0.9")),)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("node",), {}, "node is not a key"),
        (("nodes", "hub", "as"), 1, "nodes.hub: as is not a key"),
        (("nodes", "hub", "nbma_address"), "203.0.113", "nodes.hub: nbma_address = '203.0.113'"),
        (("nodes", "hub", "nbma_address"), "198.51.100.1", "lies not in 203.0.113.0/24"),
        (("nodes", "hub", "as_number"), "65000", "as_number = '65000': is no int"),
        (("nodes", "hub", "addresses"), "10.255.0.1", "expected a list"),
        (("nodes", "hub", "prefixes"), ["10.0.0.0/8"], "a hub's certificate has none"),
        (("nodes", "hub", "role"), "spoke", "none has role = 'hub'"),
        (("nodes", "hub", "behind"), "router", "behind = 'router'; expected one of nat"),
        (("nodes", "hub", "second"), True, "nodes.hub: second = true; expected only of spokes"),
        (("second",), SECOND | {"hub": "spoke"}, "second: hub = 'spoke'; expected the name of a hub"),
        (("second",), SECOND | {"key": 43}, "second: key is not a key"),
        (("steps", 0, "expects"), [], "expects is not a key"),
        (("steps", 0, "do", 0, "action"), "reboot", "action = 'reboot'; expected one of start, power-off"),
        (("steps", 0, "expect", 0, "resaon"), "x", "decision: resaon is not a key"),
    ],
)
def test_errors_name_place_and_value(path: tuple[Any, ...], value: Any, words: str) -> None:
    """A typing mistake is an error that says where, never an expectation that is not looked at."""
    raw = copy.deepcopy(MINIMAL)
    table: Any = raw
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    with pytest.raises(ScenarioError) as caught:
        _parse(raw)
    assert words in str(caught.value)


def test_missing_key_is_named() -> None:
    """A node without an address is no node."""
    raw = copy.deepcopy(MINIMAL)
    del raw["nodes"]["hub"]["protocol_address"]
    with pytest.raises(ScenarioError, match=r"nodes\.hub: protocol_address is missing"):
        _parse(raw)
