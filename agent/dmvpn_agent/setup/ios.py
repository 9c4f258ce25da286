"""The configuration of a Cisco router that is a spoke, with the proposals of this DMVPN's swanctl.conf.

It is printed, never applied. Sources: Cisco's "IKEv2 and FlexVPN" and "DMVPN" configuration guides of IOS XE 17.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.node import ESP_PROPOSALS, IKE_PROPOSALS, Hub, Node
from dmvpn_agent.setup.refusal import Refusal, Refused
from dmvpn_agent.setup.system import System, Uplink
from dmvpn_agent.setup.templates import render
from dmvpn_agent.x509.claims import escaped

#: DMVPN: multipoint GRE. FlexVPN: point-to-point GRE to each hub, and a virtual template for shortcuts.
STYLES = ("dmvpn", "flexvpn")
#: In place of a machine: nothing of it counts for a router.
ANY_ROUTER = System(uplinks=(Uplink("the router", IPv4Address(0)),))
_ENCRYPTION = {"aes256gcm16": "aes-gcm-256", "aes256": "aes-cbc-256"}
_GROUP = {"ecp256": "19", "ecp384": "20"}
_TRANSFORM = {"aes256gcm16": "esp-gcm 256", "aes256": "esp-aes 256"}


@dataclass(frozen=True, slots=True)
class IkeProposal:
    """An IKEv2 proposal in IOS's words. ``integrity`` is empty with an AEAD cipher, ``prf`` without one."""

    encryption: str
    integrity: str
    prf: str
    group: str


@dataclass(frozen=True, slots=True)
class Transform:
    """An ESP transform in IOS's words. ``pfs`` is the group of rekeyings, empty for none."""

    transform: str
    pfs: str


@dataclass(frozen=True, slots=True)
class Lan:
    """A network with the mask that IOS writes."""

    network: IPv4Address
    mask: IPv4Address


def parse_interface(text: str) -> str:
    """Return the name of a router's interface. Raises ``Refused``."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z-]*[0-9][0-9/.:]*", text):
        raise Refused(Refusal("--interface", repr(text), "a name such as GigabitEthernet0/0/0", "correct it"))
    return text


def ike_proposal(swanctl: str) -> IkeProposal:
    """Return one of swanctl's IKE proposals. Raises ``KeyError`` for one with other algorithms."""
    cipher, second, group = swanctl.split("-")
    prf = second.removeprefix("prf") if second.startswith("prf") else ""
    return IkeProposal(_ENCRYPTION[cipher], "" if prf else second, prf, _GROUP[group])


def transform(swanctl: str) -> Transform:
    """Return one of swanctl's ESP proposals. Raises ``KeyError`` for one with other algorithms."""
    cipher, *rest = swanctl.split("-")
    integrity = [f"esp-{one}-hmac" for one in rest if one not in _GROUP]
    return Transform(
        " ".join((_TRANSFORM[cipher], *integrity)), next((_GROUP[one] for one in rest if one in _GROUP), "")
    )


def router_text(node: Node, bundle: Bundle, style: str, interface: str) -> str:
    """Return a router's configuration. ``interface``: its uplink, such as ``GigabitEthernet1``.

    Raises ``Refused`` if a router with IOS cannot be this node.
    """
    ipv4 = [one for one in node.protocol_addresses if isinstance(one, IPv4Address)]
    hubs = [hub for hub in node.hubs if isinstance(hub.protocol_address, IPv4Address)]
    refusals = []
    if not ipv4:
        refusals.append(Refusal("the certificate", "it names no IPv4 protocol address", "one", "ask the CA for it"))
    if not hubs or len(hubs) < len(node.hubs):
        refusals.append(Refusal("hubs", _listed(node.hubs), "each with its protocol address, a neighbor in BGP",
                                'write hubs = ["10.255.0.1=203.0.113.1"] into the answers'))  # fmt: skip
    if refusals:
        raise Refused(*refusals)
    lans = [one for one in node.lan_networks if isinstance(one, IPv4Network)]
    tunnels = [one for one in node.tunnel_networks if isinstance(one, IPv4Network) and ipv4[0] in one]
    return render("cisco/spoke.ios", {
        "style": style,
        "subject": escaped(bundle.certificate.subject),
        "ike": [ike_proposal(one) for one in IKE_PROPOSALS],
        "transform": transform(ESP_PROPOSALS[0]),
        "address": ipv4[0],
        "mask": tunnels[0].netmask,
        "hubs": hubs,
        "interface": interface,
        "key": node.key,
        "mtu": node.mtu,
        "mss": node.mtu - 40,
        "as_number": node.as_number,
        "lans": [Lan(one.network_address, one.netmask) for one in lans],
    })  # fmt: skip


def _listed(hubs: Sequence[Hub]) -> str:
    return ", ".join(map(str, hubs)) or "none"
