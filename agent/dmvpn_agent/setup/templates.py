"""The templates of all files that ``setup`` writes, and what the checkout's own files are rendered from.

A template lies in ``templates/``. A node's values are rendered into it, or the placeholders that a reader of the
checkout fills in by hand (``@AS_NUMBER@``): then ``example`` is true, and the head explains them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from dmvpn_agent.setup.node import (
    ESP_PROPOSALS,
    IKE_PROPOSALS,
    TUNNEL_KEY,
    TUNNEL_MTU,
    Families,
    HubLine,
    Node,
    addresses,
    hub_lines,
    networks,
)
from dmvpn_agent.setup.paths import CERTIFICATE_FILE, EST_CA
from dmvpn_agent.x509.certificate import Role

if TYPE_CHECKING:
    from jinja2 import Environment

_PROPOSALS: Mapping[str, object] = {
    "ike_proposals": IKE_PROPOSALS,
    "esp_proposals": ESP_PROPOSALS,
    "certificate_file": CERTIFICATE_FILE,
}


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415  only setup needs it

    # No HTML here: nothing is to be escaped, and every value is parsed before.
    environment = Environment(
        loader=FunctionLoader(lambda name: (files("dmvpn_agent.setup") / "templates" / name).read_text("utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters["toml"] = _toml_strings
    return environment


def _toml_strings(things: Iterable[object]) -> str:
    return ", ".join(f'"{one}"' for one in things)


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a template with these values. A value that is missing is an error of the program."""
    return _environment().get_template(template).render(**_PROPOSALS, **values)


def node_values(node: Node) -> dict[str, object]:
    """Return what the templates call the values of a node."""
    has_ipv4 = any(address.version == 4 for address in node.protocol_addresses)
    return {
        "example": False,
        "role": str(node.role),
        "bridged": node.bridged,
        "dmvpn_ca": node.dmvpn_ca,
        "ibgp": node.ibgp,
        "cisco": node.cisco,
        "as_number": node.as_number,
        "router_id": node.router_id,
        "nbma_address": node.nbma_address,
        "protocol_addresses": addresses(node.protocol_addresses),
        "protocol_interfaces": [f"{one}/{one.max_prefixlen}" for one in node.protocol_addresses],
        "tunnel_networks": networks(node.tunnel_networks),
        "lan_networks": networks(node.lan_networks),
        "allowed_networks": node.allowed_networks,
        "hubs": hub_lines(node.registers_with, dynamic_is_ipv6=not has_ipv4),
        "tunnel_by": str(node.tunnel_by),
        "key": node.key,
        "mtu": node.mtu,
        "program": node.program,
        "fetches_crls": node.fetches_crls,
        "renewal_server": node.renewal_server,
        "renewal_ca": EST_CA if node.renewal_has_own_ca else "",
        "identity": node.identity,
    }


def frr_conf(node: Node) -> str:
    """Return FRR's configuration of a node."""
    values = node_values(node)
    parts = [f"frr/{node.role}.conf"]
    parts += ["frr/other-hub.conf"] if node.role is Role.HUB and node.registers_with else []
    parts += [f"frr/{node.role}-ipv6.conf"] if node.has_ipv6 else []
    return "".join(render(part, values) for part in parts)


@dataclass(frozen=True, slots=True)
class Example:
    """A file of the checkout: its template, and in what it differs from the others of this template."""

    file: str
    template: str
    role: str = "hub"
    bridged: bool = True
    dmvpn_ca: bool = False
    cisco: bool = False


EXAMPLES = (
    Example("frr/hub.conf", "frr/hub.conf"),
    Example("frr/hub-ibgp.conf", "frr/hub.conf", dmvpn_ca=True),
    Example("frr/hub-ipv6.conf", "frr/hub-ipv6.conf"),
    Example("frr/other-hub.conf", "frr/other-hub.conf"),
    Example("frr/spoke.conf", "frr/spoke.conf", "spoke"),
    Example("frr/spoke-ibgp.conf", "frr/spoke.conf", "spoke", dmvpn_ca=True),
    Example("frr/spoke-ipv6.conf", "frr/spoke-ipv6.conf", "spoke"),
    Example("swanctl/bridged.conf", "swanctl/dmvpn.conf"),
    Example("swanctl/native.conf", "swanctl/dmvpn.conf", bridged=False),
    Example("swanctl/cisco-ios.conf", "swanctl/dmvpn.conf", cisco=True),
    Example("swanctl/strongswan-bridged.conf", "swanctl/strongswan-bridged.conf"),
    Example("swanctl/strongswan-native.conf", "swanctl/strongswan-native.conf", bridged=False),
    Example("swanctl/strongswan-dmvpn-ca.conf", "swanctl/strongswan-dmvpn-ca.conf", dmvpn_ca=True),
    Example("deploy/agent.hub.toml", "agent.toml"),
    Example("deploy/agent.spoke.toml", "agent.toml", "spoke"),
    Example("deploy/agent.dmvpn-ca.hub.toml", "agent.toml", dmvpn_ca=True),
    Example("deploy/agent.dmvpn-ca.spoke.toml", "agent.toml", "spoke", dmvpn_ca=True),
    Example("deploy/gre1.interfaces", "network/gre1.interfaces"),
    Example("deploy/systemd/dmvpn-agent.service", "systemd/dmvpn-agent.service"),
    Example("deploy/systemd/dmvpn-bridge.service", "systemd/dmvpn-bridge.service"),
    Example("deploy/systemd/dmvpn-renew.service", "systemd/dmvpn-renew.service"),
    Example("deploy/systemd/dmvpn-renew.timer", "systemd/dmvpn-renew.timer"),
    Example("deploy/openrc/dmvpn-renew.periodic", "openrc/dmvpn-renew.periodic"),
    Example("deploy/systemd/dmvpn-page.service", "systemd/dmvpn-page.service"),
    Example("deploy/openrc/dmvpn-agent.initd", "openrc/dmvpn-agent.initd"),
    Example("deploy/openrc/dmvpn-agent.confd", "openrc/dmvpn-agent.confd"),
    Example("deploy/openrc/dmvpn-bridge.initd", "openrc/dmvpn-bridge.initd"),
    Example("deploy/openrc/dmvpn-bridge.confd", "openrc/dmvpn-bridge.confd"),
    Example("deploy/openrc/dmvpn-page.initd", "openrc/dmvpn-page.initd"),
    Example("deploy/openrc/dmvpn-page.confd", "openrc/dmvpn-page.confd"),
    Example("deploy/apparmor/usr.sbin.swanctl", "apparmor.swanctl"),
)


def example_text(example: Example) -> str:
    """Return a file of the checkout as it must be."""
    other = "OTHER_" if example.template == "frr/other-hub.conf" else ""
    ipv6 = frozenset({1})

    def both(name: str) -> Families[str]:
        return Families((f"@{name}@", f"@{name}_IPV6@"), ipv6)

    hub = HubLine(f"@{other}HUB_PROTOCOL_ADDRESS@", f"@{other}HUB_NBMA_ADDRESS@")
    hub_ipv6 = HubLine("@HUB_PROTOCOL_ADDRESS_IPV6@", "@HUB_NBMA_ADDRESS_IPV6@")
    hubs = Families((hub,)) if other else Families((hub, hub_ipv6), ipv6)
    tunnels = Families(("@TUNNEL_NETWORK@",)) if example.template == "agent.toml" else both("TUNNEL_NETWORK")
    openrc = example.template.startswith("openrc/")
    return render(
        example.template,
        {
            "example": True,
            "role": example.role,
            "bridged": example.bridged,
            "dmvpn_ca": example.dmvpn_ca,
            "ibgp": example.dmvpn_ca,
            "cisco": example.cisco,
            "as_number": "@AS_NUMBER@",
            "router_id": "@PROTOCOL_ADDRESS@",
            "nbma_address": "@NBMA_ADDRESS@",
            "protocol_addresses": Families(("@PROTOCOL_ADDRESS@",)),
            "tunnel_networks": tunnels,
            "lan_networks": both("LAN_NETWORK"),
            "allowed_networks": ("@ALLOWED_NETWORK@",),
            "hubs": hubs,
            "tunnel_by": "ifupdown",
            "key": TUNNEL_KEY,
            "mtu": TUNNEL_MTU,
            "program": "/usr/bin/dmvpn-agent" if openrc else "dmvpn-agent",
            "fetches_crls": False,
            "renewal_server": "",
            "renewal_ca": "",
            "identity": "",
        },
    )
