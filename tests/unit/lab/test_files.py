"""The files of a scenario's nodes, as ``dmvpn-agent setup`` makes them."""

import tomllib
from typing import Any

import pytest

from configuration import config_from
from dmvpn_agent.setup.paths import AGENT_TOML, CONNECTIONS, DMVPN_CA, FRR_CONF, STRONGSWAN
from scenarios import NAMES, Prepared, prepared, scenario_of


@pytest.fixture
def two() -> Prepared:
    return prepared("two-tunnels")


def agent_of(given: Prepared, node: str) -> dict[str, Any]:
    return tomllib.loads(given.files[node][AGENT_TOML])


@pytest.mark.parametrize("name", NAMES)
def test_every_node_has_a_configuration_that_the_agent_takes(name: str) -> None:
    """With the tunnels that nhrpd has."""
    given = prepared(name)
    for node in given.scenario.nodes:
        config = config_from(agent_of(given, node))
        frr = given.files[node][FRR_CONF]
        assert [f"interface {name}" for name in config.interfaces] == list(
            dict.fromkeys(line for line in frr.splitlines() if line.startswith("interface "))
        )


@pytest.mark.parametrize(("name", "hubs", "others"), [("policy", 1, 0), ("two-hubs", 2, 1)])
def test_every_hub_is_named(name: str, hubs: int, others: int) -> None:
    """A spoke registers with every hub, a hub with each that has a lower protocol address, the first with none."""
    given = prepared(name)

    def named(node: str) -> int:
        return sum(line.startswith(" ip nhrp nhs ") for line in given.files[node][FRR_CONF].splitlines())

    first, *_, last = (named(one.name) for one in (given.scenario.hubs[0], *given.scenario.hubs))
    assert (named("spoke1"), first, last) == (hubs, 0, others)


def test_a_hub_with_two_tunnels_is_told_of_both(two: Prepared) -> None:
    """In each of its three files; FRR's is one file still."""
    agent, files = agent_of(two, "hub"), two.files["hub"]
    assert agent["nhrp"]["interfaces"] == {"gre1": "dmvpn", "gre2": "dmvpn2"}
    assert agent["policy"]["tunnel_networks"] == ["10.255.0.0/24", "10.254.0.0/24"]
    assert "\nend\n" not in files[FRR_CONF]
    assert [line.split()[-1] for line in files[CONNECTIONS].splitlines() if " local_addrs = " in line] == [
        "203.0.113.1", "203.0.113.2",
    ]  # fmt: skip


def test_a_spoke_of_the_second_dmvpn_has_one_tunnel_and_the_hubs_other_addresses(two: Prepared) -> None:
    """It is configured as any spoke is."""
    hubs = [line for line in two.files["spoke2"][FRR_CONF].splitlines() if " nhs " in line]
    assert hubs == [" ip nhrp nhs 10.254.0.1 nbma 203.0.113.2"]
    assert agent_of(two, "spoke2")["policy"]["tunnel_networks"] == ["10.254.0.0/24"]


def test_a_patched_charon_needs_no_bridge() -> None:
    """The file of the other mode must not exist; in the lab's folders it never did."""
    files = prepared("native").files["hub"]
    assert files[STRONGSWAN[False]]
    assert not files[STRONGSWAN[True]]
    assert agent_of(prepared("native"), "hub")["ike"]["vici_socket"] == "/run/charon.vici"


def test_charon_takes_the_certificates_of_dmvpn_ca() -> None:
    """By one file more."""
    assert DMVPN_CA in prepared("dmvpn-ca").files["fin1"]
    assert DMVPN_CA not in prepared("policy").files["spoke1"]


def test_uplinks_to_choose_from() -> None:
    """If there are two, each probes the first hub."""
    given = prepared("uplink")
    links = {node: agent_of(given, node).get("uplink", {}).get("link") for node in ("hub", "spoke1", "spoke2")}
    assert links["hub"] is None
    assert links["spoke1"] == [{"name": "eth0"}]
    assert links["spoke2"] == [
        {"name": "eth0", "targets": ["203.0.113.1"]},
        {"name": "eth1", "targets": ["203.0.113.1"], "gateway": "10.9.0.1"},
    ]


@pytest.mark.parametrize(("name", "has_tunnel"), [("tunnel", True), ("policy", False)])
def test_the_agent_makes_the_tunnel_if_it_manages_it(name: str, has_tunnel: bool) -> None:
    """Otherwise the lab makes it, as an operator's network configuration does."""
    assert ("tunnel" in agent_of(prepared(name), "hub")) is has_tunnel


@pytest.mark.parametrize(
    ("name", "seen_from", "address"),
    [
        ("hub", "spoke1", "10.255.0.1"),
        ("hub", "spoke2", "10.254.0.1"),
        ("hub", "hub", "10.255.0.1"),
        ("spoke2", "hub", "10.254.0.12"),
    ],
)
def test_a_hub_is_known_by_the_address_of_the_tunnel(name: str, seen_from: str, address: str) -> None:
    """Its spokes by the one they have."""
    assert scenario_of("two-tunnels").protocol_address(name, seen_from) == address
