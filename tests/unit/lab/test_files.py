"""The files that users take, as a node of a scenario has them."""

import tomllib
from pathlib import Path

import pytest

from configuration import config_from
from dmvpn_lab.actions import ACTIONS
from dmvpn_lab.expectations import EXPECTATIONS
from dmvpn_lab.files import CHECKOUT, Configuration, configuration
from dmvpn_lab.scenario import Scenario, load

SCENARIOS = sorted((CHECKOUT / "deploy/lab/scenarios").glob("*.toml"))


@pytest.fixture
def two() -> Scenario:
    return load(CHECKOUT / "deploy/lab/scenarios/two-tunnels.toml", ACTIONS, EXPECTATIONS)


@pytest.fixture
def hub(two: Scenario) -> Configuration:
    return configuration(two.nodes["hub"], two)


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_every_node_has_a_configuration_that_the_agent_takes(file: Path) -> None:
    """With the tunnels that nhrpd has."""
    scenario = load(file, ACTIONS, EXPECTATIONS)
    for node in scenario.nodes.values():
        texts = configuration(node, scenario)
        config = config_from(tomllib.loads(texts.agent))
        assert not [line for line in (texts.agent + texts.frr).splitlines() if "@" in line and line[0] not in "#!"]
        assert [f"interface {name}" for name in config.interfaces] == list(
            dict.fromkeys(line for line in texts.frr.splitlines() if line.startswith("interface "))
        )


def test_a_hub_with_two_tunnels_is_told_of_both(hub: Configuration) -> None:
    """In each of its three files; FRR's is one file still."""
    assert 'interfaces = { gre1 = "dmvpn", gre2 = "dmvpn2" }' in hub.agent
    assert "\nend\n" not in hub.frr
    assert [line.split()[-1] for line in hub.connections.splitlines() if " local_addrs = " in line] == [
        "203.0.113.1", "203.0.113.2",
    ]  # fmt: skip


def test_a_spoke_of_the_second_dmvpn_has_one_tunnel_and_the_hubs_other_addresses(two: Scenario) -> None:
    """It is configured as any spoke is."""
    texts = configuration(two.nodes["spoke2"], two)
    assert [line for line in texts.frr.splitlines() if " nhs " in line] == [
        " ip nhrp nhs 10.254.0.1 nbma 203.0.113.2"
    ]
    assert 'tunnel_networks = ["10.254.0.0/24"]' in texts.agent


@pytest.mark.parametrize(
    ("name", "seen_from", "address"),
    [
        ("hub", "spoke1", "10.255.0.1"),
        ("hub", "spoke2", "10.254.0.1"),
        ("hub", "hub", "10.255.0.1"),
        ("spoke2", "hub", "10.254.0.12"),
    ],
)
def test_a_hub_is_known_by_the_address_of_the_tunnel(two: Scenario, name: str, seen_from: str, address: str) -> None:
    """Its spokes by the one they have."""
    assert two.protocol_address(name, seen_from) == address
