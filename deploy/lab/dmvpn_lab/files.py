"""The files that users take, as one node has them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from dmvpn_lab.render import render
from dmvpn_lab.scenario import GRE, KEY, Address, Network, Node, Scenario, Second
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
    agent, frr = _agent(node, scenario, values), _frr(node, scenario, values)
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


def _agent(node: Node, scenario: Scenario, values: Mapping[str, object]) -> str:
    """The agent's file, which has the networks of both IP versions in one list."""
    tunnels = (scenario.second.network,) if scenario.second and node.second else scenario.networks.tunnels
    lists = {"TUNNEL_NETWORK": tunnels, "ALLOWED_NETWORK": scenario.networks.alloweds}
    joined = {name: '", "'.join(map(str, networks)) for name, networks in lists.items()}
    form = "dmvpn-ca." if scenario.authority == "dmvpn-ca" else ""
    text = render(text_of(f"deploy/agent.{form}{node.role}.toml"), {**values, **joined}) + _uplink(node, scenario)
    text = _replaced(text, "ipv6 = false ", "ipv6 = true ") if _has_ipv6(node) else text
    return text + _managed_tunnel(node) if node.managed else text


def _managed_tunnel(node: Node) -> str:
    addresses = ", ".join(f'"{address}/{address.max_prefixlen}"' for address in node.protocol_addresses)
    return f'\n[tunnel.{GRE}]\nmanage = true\nlocal = "{node.nbma_address}"\nkey = {KEY}\naddresses = [{addresses}]\n'


def _uplink(node: Node, scenario: Scenario) -> str:
    """The table [uplink] of a node that has it: with a second uplink, the first hub is probed by way of both."""
    if not node.uplink:
        return ""
    if node.backup is None:
        return '\n[[uplink.link]]\nname = "eth0"\n'
    targets, gateway = f'targets = ["{scenario.hubs[0].nbma_address}"]', scenario.routers[node.backup].inside.ip
    return (
        f'\n[[uplink.link]]\nname = "eth0"\n{targets}\n'
        f'\n[[uplink.link]]\nname = "eth1"\ngateway = "{gateway}"\n{targets}\n'
    )


def _frr(node: Node, scenario: Scenario, values: Mapping[str, object]) -> str:
    files = [f"frr/{node.role}{'-ibgp' if scenario.authority == 'dmvpn-ca' else ''}.conf"]
    if node.role == "hub" and values["OTHER_HUB_NBMA_ADDRESS"]:
        files.append("frr/other-hub.conf")
    if _has_ipv6(node):
        files.append(f"frr/{node.role}-ipv6.conf")
    return "".join(render(text_of(file), values) for file in files)


def _has_ipv6(node: Node) -> bool:
    return any(address.version == 6 for address in node.protocol_addresses)


def _replaced(text: str, old: str, new: str) -> str:
    if old not in text:
        raise ValueError(f"the file that users take has no {old} any more")
    return text.replace(old, new)


def _with_second_interface(agent: str, scenario: Scenario, second: Second) -> str:
    agent = _replaced(agent, 'interfaces = { gre1 = "dmvpn" }', 'interfaces = { gre1 = "dmvpn", gre2 = "dmvpn2" }')
    return _replaced(agent, f'["{scenario.networks.tunnel}"]', f'["{scenario.networks.tunnel}", "{second.network}"]')


def template_values(node: Node, scenario: Scenario) -> dict[str, object]:
    """What the placeholders of the files that users take stand for on one node.

    If an IP version is not used, its placeholder is an empty list, and its lines are left out.
    """
    second = scenario.second
    tunnels, hubs = scenario.networks.tunnels, scenario.hubs
    addresses = [(address, hub.nbma_address) for hub in hubs for address in hub.protocol_addresses]
    if second and node.second:
        tunnels, addresses = (second.network,), [(second.protocol_address, second.nbma_address)]
    others = [(address, hub.nbma_address) for hub in hubs if hub is not node for address in hub.protocol_addresses]
    return {
        "AS_NUMBER": node.as_number,
        "PROTOCOL_ADDRESS": node.protocol_address,
        "ALLOWED_NETWORK": scenario.networks.allowed,
        "SECOND_TUNNEL_NETWORK": second.network if second else "",
        **_by_version("LAN_NETWORK", node.lans),
        **_by_version("TUNNEL_NETWORK", tunnels),
        **_of_hubs("HUB", addresses),
        **_of_hubs("OTHER_HUB", others),
    }


def _by_version(name: str, things: Iterable[Address | Network]) -> dict[str, object]:
    listed = tuple(things)
    return {
        name: [thing for thing in listed if thing.version == 4],
        f"{name}_IPV6": [thing for thing in listed if thing.version == 6],
    }


def _of_hubs(name: str, addresses: Sequence[tuple[Address, IPv4Address]]) -> dict[str, object]:
    return {
        **_by_version(f"{name}_PROTOCOL_ADDRESS", [protocol for protocol, _ in addresses]),
        f"{name}_NBMA_ADDRESS": [nbma for protocol, nbma in addresses if protocol.version == 4],
        f"{name}_NBMA_ADDRESS_IPV6": [nbma for protocol, nbma in addresses if protocol.version == 6],
    }
