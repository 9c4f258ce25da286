"""The files that users take, as one node has them."""

from dataclasses import dataclass
from pathlib import Path

from dmvpn_lab.render import render
from dmvpn_lab.scenario import Node, Scenario, Second
from dmvpn_lab.strongswan import CONNECTIONS, MODES

CHECKOUT = Path(__file__).parents[3]
# The NBMA addresses of swanctl/several-profiles.conf.
_FIRST, _SECOND = "203.0.113.1", "198.51.100.1"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The texts of agent.toml, frr.conf, and of the connections in swanctl's configuration."""

    agent: str
    frr: str
    connections: str


def text_of(file: str) -> str:
    """The text of a file of the checkout."""
    return (CHECKOUT / file).read_text()


def configuration(node: Node, scenario: Scenario) -> Configuration:
    """What a node is configured with."""
    values = template_values(node, scenario)
    form, reflected = ("dmvpn-ca.", "-ibgp") if scenario.authority == "dmvpn-ca" else ("", "")
    agent = render(text_of(f"deploy/agent.{form}{node.role}.toml"), values)
    frr = render(text_of(f"frr/{node.role}{reflected}.conf"), values)
    if node.role == "hub" and values["OTHER_HUB_NBMA_ADDRESS"]:
        frr += render(text_of("frr/other-hub.conf"), values)
    second = scenario.second_at(node.name)
    if second is None or node.second:
        return Configuration(agent, frr, text_of(MODES[scenario.mode].files[CONNECTIONS]))
    return Configuration(
        _with_second_interface(agent, scenario, second),
        frr + render(text_of("frr/second-tunnel.conf"), values),
        text_of("swanctl/several-profiles.conf")
        .replace(f"{_FIRST}\n", f"{node.nbma_address}\n")
        .replace(f"{_FIRST}/", f"{node.nbma_address}/")
        .replace(_SECOND, str(second.nbma_address)),
    )


def _with_second_interface(agent: str, scenario: Scenario, second: Second) -> str:
    for old, new in (
        ('interfaces = { gre1 = "dmvpn" }', 'interfaces = { gre1 = "dmvpn", gre2 = "dmvpn2" }'),
        (f'["{scenario.networks.tunnel}"]', f'["{scenario.networks.tunnel}", "{second.network}"]'),
    ):
        if old not in agent:
            raise ValueError(f"agent.hub.toml has no {old} any more")
        agent = agent.replace(old, new)
    return agent


def template_values(node: Node, scenario: Scenario) -> dict[str, object]:
    """What the placeholders of the files that users take stand for on one node."""
    second = scenario.second
    hubs = [(hub.protocol_address, hub.nbma_address) for hub in scenario.hubs]
    if second and node.second:
        hubs = [(second.protocol_address, second.nbma_address)]
    others = [hub for hub in scenario.hubs if hub is not node]
    return {
        "AS_NUMBER": node.as_number,
        "PROTOCOL_ADDRESS": node.protocol_address,
        "LAN_NETWORK": node.lan,
        "TUNNEL_NETWORK": second.network if second and node.second else scenario.networks.tunnel,
        "SECOND_TUNNEL_NETWORK": second.network if second else "",
        "ALLOWED_NETWORK": scenario.networks.allowed,
        "HUB_PROTOCOL_ADDRESS": [protocol for protocol, _ in hubs],
        "HUB_NBMA_ADDRESS": [nbma for _, nbma in hubs],
        "OTHER_HUB_PROTOCOL_ADDRESS": [hub.protocol_address for hub in others],
        "OTHER_HUB_NBMA_ADDRESS": [hub.nbma_address for hub in others],
    }
