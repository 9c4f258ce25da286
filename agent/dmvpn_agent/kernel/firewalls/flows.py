"""What must pass a firewall so that a DMVPN works, and how to let it pass.

NHRP is not among it: it is no IP packet, and passes no hook of nftables or iptables.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from dmvpn_agent.kernel.firewalls.rules import Drop, Packet

_TCP, _UDP, _GRE, _ESP, _BGP = 6, 17, 47, 50, 179
#: A protocol that no rule knows (RFC 3692): its verdict is that of all that no rule names.
_ANY = 253
_IPTABLES = {4: "iptables", 6: "ip6tables"}


class Place(Enum):
    """Where packets pass: between nodes, to this node by the tunnel, or through this node."""

    UNDERLAY = auto()
    TO_NODE = auto()
    THROUGH = auto()


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets that must pass. ``what`` says which, for people. ``vital``: without them nothing works.

    ``tunnel``: the interface that they pass inside the tunnel, empty for packets between the nodes.
    """

    what: str
    packet: Packet
    place: Place
    vital: bool = True
    tunnel: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Packets that must pass, the rule of another program that drops them, and what lets them pass."""

    flow: Flow
    rule: str
    do: str


@dataclass(frozen=True, slots=True)
class FirewallView:
    """``tables``: those of other programs, by name. ``unread``: why a program's rules could not be read.

    ``asked``: how many kinds of packets were looked for.
    """

    tables: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    asked: int = 0
    dropped: tuple[Dropped, ...] = ()


NO_FIREWALLS = FirewallView()


def underlay_flows(uplink: str, *, hub: bool) -> Iterator[Flow]:
    """Yield what passes between the nodes. A spoke asks first: it is answered also if nobody may ask it."""
    kinds = (("IKE, UDP port 500", _UDP, 500, False), ("IKE and ESP behind NAT, UDP port 4500", _UDP, 4500, False),
             ("ESP", _ESP, None, False), ("GRE inside ESP", _GRE, None, True))  # fmt: skip
    for what, protocol, port, ipsec in kinds:
        inwards = Packet(4, protocol, received_by=uplink, port=port, ipsec=ipsec)
        yield Flow(f"{what}, received by {uplink}", inwards, Place.UNDERLAY, vital=hub)
        outwards = Packet(4, protocol, sent_by=uplink, port=port, ipsec=ipsec)
        yield Flow(f"{what}, sent by {uplink}", outwards, Place.UNDERLAY)


def tunnel_flows(tunnel: str, lans: Iterable[str], version: int, *, hub: bool, bgp: bool) -> Iterator[Flow]:
    """Yield what passes by a tunnel: BGP, and between the sites."""
    if bgp and hub:
        session = Packet(version, _TCP, received_by=tunnel, port=_BGP)
        yield Flow(f"BGP over IPv{version}, received by {tunnel}", session, Place.TO_NODE, tunnel=tunnel)
    ways = [(tunnel, tunnel)] if hub else []
    ways += [way for lan in lans for way in ((tunnel, lan), (lan, tunnel))]
    for received_by, sent_by in ways:
        packet = Packet(version, _ANY, received_by, sent_by)
        yield Flow(f"IPv{version} from {received_by} to {sent_by}", packet, Place.THROUGH, vital=False, tunnel=tunnel)


def remedy(drop: Drop, flow: Flow, *, awall: bool = False) -> str:
    """Return the commands that let a flow pass the program whose rule drops it."""
    if drop.table.name == "inet firewalld":
        return _firewalld(drop, flow)
    if drop.table.name.endswith("tables filter"):
        if awall:
            return _awall(flow)
        if any(name.startswith("ufw-") or name.startswith("ufw6-") for name in drop.table.chains):
            return _ufw(flow)
        if flow.place is Place.THROUGH and "DOCKER-USER" in drop.table.chains:
            return "; ".join(_iptables(flow, "DOCKER-USER"))
    if drop.table.name.startswith("ip"):
        family, _, table = drop.table.name.partition(" ")
        if family in _IPTABLES.values():
            return f"before that rule: {'; '.join(_iptables(flow, drop.chain, table))}; and save it"
    condition = _nft(flow.packet)
    return f"nft 'insert rule {drop.table.name} {drop.chain} {condition} accept'; and where the rules are kept"


def _iptables(flow: Flow, chain: str, table: str = "filter") -> Iterator[str]:
    packet = flow.packet
    words = [_IPTABLES[packet.version], *(("-t", table) if table != "filter" else ()), "-I", chain]
    for option, name in (("-i", packet.received_by), ("-o", packet.sent_by)):
        words += [option, name] if name else []
    if packet.protocol != _ANY:
        words += ["-p", {_TCP: "tcp", _UDP: "udp", _GRE: "gre", _ESP: "esp"}[packet.protocol]]
    words += ["--dport", str(packet.port)] if packet.port else []
    words += ["-m", "policy", "--dir", "in", "--pol", "ipsec"] if packet.ipsec and packet.received_by else []
    yield " ".join((*words, "-j", "ACCEPT"))


def _nft(packet: Packet) -> str:
    words = [
        f'{key} "{name}"' for key, name in (("iifname", packet.received_by), ("oifname", packet.sent_by)) if name
    ]
    if packet.port:
        words.append(f"{'tcp' if packet.protocol == _TCP else 'udp'} dport {packet.port}")
    elif packet.protocol != _ANY:
        words.append(f"meta l4proto {'gre' if packet.protocol == _GRE else 'esp'}")
    return " ".join(words)


def _firewalld(drop: Drop, flow: Flow) -> str:
    found = re.search(r"_(?:IN|FWD|FWDI|FWDO)_((?!policy_).+?)(?:_(?:pre|log|deny|allow|post))?$", drop.chain)
    zone, packet, reload = found[1] if found else "ZONE", flow.packet, "firewall-cmd --reload"
    if flow.place is Place.UNDERLAY:
        what = "--add-protocol=gre" if packet.protocol == _GRE else "--add-service=ipsec"
        return f"firewall-cmd --permanent --zone={zone} {what}; {reload}"
    trusted = f"firewall-cmd --permanent --zone=trusted --add-interface={flow.tunnel}"
    if packet.received_by == flow.tunnel:
        return f"{trusted}; {reload}"
    policy = "firewall-cmd --permanent --policy=to-dmvpn"
    return (
        f"{trusted}; firewall-cmd --permanent --new-policy=to-dmvpn; {policy} --add-ingress-zone={zone};"
        f" {policy} --add-egress-zone=trusted; {policy} --set-target=ACCEPT; {reload}"
    )


def _ufw(flow: Flow) -> str:
    packet = flow.packet
    if flow.place is Place.THROUGH:
        return f"ufw route allow in on {packet.received_by} out on {packet.sent_by}"
    way = f"in on {packet.received_by}" if packet.received_by else f"out on {packet.sent_by}"
    if packet.port:
        protocol = "tcp" if packet.protocol == _TCP else "udp"
        return f"ufw allow {way} proto {protocol} to any port {packet.port}"
    return f"ufw allow {way} proto {'gre' if packet.protocol == _GRE else 'esp'} to any"


def _awall(flow: Flow) -> str:
    packet = flow.packet
    way = [
        f'"{side}": "{zone}"' for side, zone in (("in", _zone(packet.received_by)), ("out", _zone(packet.sent_by)))
    ]
    service = {_ESP: "ipsec", _UDP: "ipsec", _GRE: "gre", _TCP: "bgp"}.get(packet.protocol)
    rule = ", ".join((*way, *((f'"service": "{service}"',) if service else ()), '"action": "accept"'))
    return f'a policy of awall with "filter": [ {{ {rule} }} ], in the zones of your policy; then awall activate'


def _zone(interface: str) -> str:
    return f"zone of {interface}" if interface else "_fw"
