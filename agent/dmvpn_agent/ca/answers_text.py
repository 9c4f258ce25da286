"""What ``setup`` cannot read from a node's certificate, as the answers file that it takes."""

from collections.abc import Iterable

from dmvpn_agent.ca.node import Node
from dmvpn_agent.ca.profile import Networks
from dmvpn_agent.ca.settings import Settings


def answers_text(node: Node, networks: Networks, settings: Settings) -> str:
    """Return TOML for ``setup --answers``: the network's tunnel and site networks, and for a spoke the hubs."""
    lines = [
        f"# What the CA knows of {node.name}, for `dmvpn-agent setup --answers`.",
        f"tunnel_networks = {_listed(networks.tunnels)}",
    ]
    if node.is_hub:
        lines.append(f"allowed_networks = {_listed(networks.sites)}")
    elif settings.hub_hosts:
        lines.append(f"hubs = {_listed(settings.hub_hosts)}")
    if settings.as_number is not None:
        lines.append(f"ibgp = {str(node.as_number == settings.as_number).lower()}")
    return "\n".join((*lines, ""))


def _listed(values: Iterable[object]) -> str:
    """Return a list of TOML strings: networks, and hosts, which contain no quotes (``settings``)."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
