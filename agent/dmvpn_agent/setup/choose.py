"""What a node is to be: from its bundle, the machine and the operator's answers. Each value has a source."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Any, Generic, TypeVar

from cryptography import x509

from dmvpn_agent.addresses import RESERVED_AS_NUMBERS, Address, Network, contains, covers, overlap
from dmvpn_agent.renewal.identity import swanctl_identity
from dmvpn_agent.setup.agent_toml import makes_tunnel
from dmvpn_agent.setup.answers import Answers
from dmvpn_agent.setup.bundle import Bundle
from dmvpn_agent.setup.node import TUNNEL_KEY, TUNNEL_MTU, Hub, Node
from dmvpn_agent.setup.paths import AGENT_TOML, NETDEV, TUNNEL_INTERFACES
from dmvpn_agent.setup.refusal import Refusal
from dmvpn_agent.setup.system import FirewallBy, System, TunnelBy, Uplink
from dmvpn_agent.x509.certificate import Role

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: The networks of RFC 1918, for a hub whose certificate and CA name no others.
_PRIVATE: tuple[Network, ...] = tuple(ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_TUNNEL_LENGTH = {4: 24, 6: 64}
_HUBS_QUESTION = "The hubs, each a DNS name or an address, as hub.example.com or 10.255.0.1=203.0.113.1"
_AS_NUMBER_QUESTION = "The certificate names no AS number, or several. This node's AS number"
_TUNNEL_QUESTION = (
    "The certificate names {block}, which may hold networks of sites too: adjacent ones are merged. The networks of"
    " protocol addresses alone, as `dmvpn-agent ca answers NODE` prints them"
)
#: A network of protocol addresses is hardly larger.
_WIDEST_TUNNEL = {4: 16, 6: 48}
_ANSWERS, _CERTIFICATE, _DEFAULT = "the answers", "the certificate", "the default"


@dataclass(frozen=True, slots=True)
class Value(Generic[T_co]):
    """A value of the node, and where it comes from, for people."""

    value: T_co
    source: str

    def __str__(self) -> str:
        listed = self.value if isinstance(self.value, tuple) else (self.value,)
        return ", ".join("yes" if one is True else "no" if one is False else str(one) for one in listed) or "none"


@dataclass(frozen=True, slots=True)
class Question:
    """What only the operator can know. ``key``: that of the answers file."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The node with the source of each value; or, if there is no node, the open questions or what is wrong."""

    node: Node | None
    values: tuple[tuple[str, Value[object]], ...] = ()
    questions: tuple[Question, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def choose(bundle: Bundle, system: System, answers: Answers) -> Choice:
    """Return what the node is to be."""
    role = _either(answers.role, Value(bundle.role, _CERTIFICATE))
    hubs = _hubs(bundle, answers, role.value)
    as_number = _as_number(bundle, answers)
    tunnels = _tunnel_networks(bundle, answers, hubs.value if hubs else ())
    uplink, uplink_refusals = _uplink(system, answers)
    refusals = (*uplink_refusals, *_contradictions(bundle, tunnels, role.value))
    if refusals or isinstance(tunnels, Question) or not (uplink and hubs and as_number):
        open_ones = (
            *([tunnels] if isinstance(tunnels, Question) else []),
            *([] if uplink or uplink_refusals else [Question("uplink", _uplink_question(system.uplinks))]),
            *([] if hubs else [Question("hubs", _HUBS_QUESTION)]),
            *([] if as_number else [Question("as_number", _AS_NUMBER_QUESTION)]),
        )
        return Choice(None, (), open_ones, refusals)
    lan = _lan_networks(bundle, system, answers)
    allowed = _allowed_networks(bundle, answers, role.value, tunnels.value)
    chosen: dict[str, tuple[str, Value[Any]]] = {
        "role": ("role", role),
        "nbma_address": ("NBMA address", uplink),
        "protocol_addresses": ("protocol addresses", Value(bundle.protocol_addresses, _CERTIFICATE)),
        "as_number": ("AS number", as_number),
        "hubs": ("hubs", hubs),
        "tunnel_networks": ("tunnel networks", tunnels),
        "lan_networks": ("networks announced", lan),
        "allowed_networks": ("networks of peers", allowed),
        **_options(bundle, system, answers),
    }
    node = _node(bundle, system, {name: value.value for name, (_, value) in chosen.items()})
    return Choice(node, tuple(chosen.values()))


def _options(bundle: Bundle, system: System, answers: Answers) -> dict[str, tuple[str, Value[Any]]]:
    """Return what always has a default, with what it is called."""
    ibgp = Value(bundle.dmvpn_ca, "the certificate's form" if bundle.dmvpn_ca else _DEFAULT)
    fetches = Value(bundle.crl_is_fetched, "the certificates' distribution points")
    server = Value(bundle.enrolled.server if bundle.enrolled else "", "--enrol")
    return {
        "ibgp": ("one AS number for all", _either(answers.ibgp, ibgp)),
        "cisco": ("Cisco routers as peers", _either(answers.cisco, Value(False, _DEFAULT))),
        "bridged": ("bridge", _bridged(system, answers)),
        "tunnel_by": ("tunnel made by", _either(answers.tunnel, _tunnel_by(system))),
        "firewall": ("firewall rules by", _either(answers.firewall, _firewall(system))),
        "key": ("tunnel key", _either(answers.key, Value(TUNNEL_KEY, _DEFAULT))),
        "mtu": ("tunnel MTU", _either(answers.mtu, Value(TUNNEL_MTU, _DEFAULT))),
        "fetches_crls": ("CRLs fetched", fetches),
        "renewal_server": ("certificate renewed at", server),
    }


def _node(bundle: Bundle, system: System, chosen: dict[str, Any]) -> Node:
    enrolled = bundle.enrolled
    identity = swanctl_identity(x509.load_pem_x509_certificate(bundle.certificate_pem)) if enrolled else ""
    return Node(
        **chosen,
        dmvpn_ca=bundle.dmvpn_ca,
        program=system.program,
        renewal_has_own_ca=bool(enrolled and enrolled.authorities),
        identity=identity,
    )


def _either(answer: T | None, otherwise: Value[T]) -> Value[T]:
    return otherwise if answer is None else Value(answer, _ANSWERS)


def _tunnel_by(system: System) -> Value[TunnelBy]:
    """Return what makes the tunnel. One that exists, and is not by setup, stays the operator's."""
    if makes_tunnel(system):
        return Value(TunnelBy.AGENT, AGENT_TOML)
    if "gre1" in system.links and not any(path in system.files for path in (TUNNEL_INTERFACES, NETDEV)):
        return Value(TunnelBy.OPERATOR, "gre1 exists")
    return Value(system.network, "what makes interfaces here")


def _firewall(system: System) -> Value[FirewallBy]:
    by = system.firewall.by
    return Value(by, "neither firewalld nor awall is in charge" if by is FirewallBy.NONE else "it is in charge here")


def _bridged(system: System, answers: Answers) -> Value[bool]:
    found = Value(not system.patched, "this strongSwan has Alpine's patches" if system.patched else "this strongSwan"
                                      " has no patches for nhrpd")  # fmt: skip
    return _either(None if answers.strongswan is None else answers.strongswan == "bridged", found)


def _hubs(bundle: Bundle, answers: Answers, role: Role) -> Value[tuple[Hub, ...]] | None:
    """Return the hubs, or ``None`` if a spoke's are not known. A hub knows no other hubs but those of the answers.

    dmvpn-ca names all hubs in every hub's certificate, and nothing tells which of them is the node itself.
    """
    if answers.hubs is not None:
        return Value(answers.hubs, _ANSWERS)
    if role is Role.HUB:
        return Value((), _DEFAULT)
    named = tuple(Hub(host) for host in bundle.hub_hosts)
    return Value(named, _CERTIFICATE) if named else None


def _as_number(bundle: Bundle, answers: Answers) -> Value[int] | None:
    if answers.as_number is not None:
        return Value(answers.as_number, _ANSWERS)
    named = [number for number in bundle.as_numbers if number not in RESERVED_AS_NUMBERS]
    return Value(named[0], _CERTIFICATE) if len(named) == 1 else None


def _tunnel_networks(bundle: Bundle, answers: Answers, hubs: Iterable[Hub]) -> Value[tuple[Network, ...]] | Question:
    """Return the networks of protocol addresses, or the question about them.

    A block of the certificate or its CA that holds a protocol address is one if nothing suggests that it has sites'
    networks too: RFC 3779 merges adjacent networks, and has none inside of another. Without such a block it is the
    /24 or /64 around the address, wide enough for the hubs' addresses.
    """
    if answers.tunnel_networks is not None:
        return Value(answers.tunnel_networks, _ANSWERS)
    of_hubs = [hub.protocol_address for hub in hubs if hub.protocol_address]
    for blocks, source in ((bundle.carried, _CERTIFICATE), (bundle.ca_blocks, "the CA's certificate")):
        found = [one for address in bundle.protocol_addresses if (one := _block(blocks, address))]
        if len(found) == len(bundle.protocol_addresses):
            if shared := [one for one in found if _may_hold_sites(one, blocks, bundle.prefixes, of_hubs)]:
                return Question("tunnel_networks", _TUNNEL_QUESTION.format(block=shared[0]))
            return Value(tuple(dict.fromkeys(found)), source)
    around = (_around(address, of_hubs) for address in bundle.protocol_addresses)
    return Value(tuple(dict.fromkeys(around)), "around the protocol addresses")


def _block(blocks: Iterable[Network], address: Address) -> Network | None:
    return max((one for one in blocks if address in one), key=lambda one: one.prefixlen, default=None)


def _may_hold_sites(
    block: Network, blocks: Iterable[Network], own: Iterable[Network], hubs: Iterable[Address]
) -> bool:
    """Tell whether a block is more, or less, than a network of protocol addresses.

    The node's own prefixes are in it; or no other block is left for sites; or it is very wide; or a hub is outside.
    """
    alike = [one for one in blocks if one.version == block.version]
    return (
        any(overlap(block, prefix) for prefix in own)
        or alike == [block]
        or block.prefixlen < _WIDEST_TUNNEL[block.version]
        or any(hub not in block for hub in hubs if hub.version == block.version)
    )


def _around(address: Address, hubs: Iterable[Address]) -> Network:
    kind = IPv4Network if isinstance(address, IPv4Address) else IPv6Network
    length = _TUNNEL_LENGTH[address.version]
    others = [hub for hub in hubs if hub.version == address.version]
    while True:
        network: Network = kind((int(address), length), strict=False)
        if all(hub in network for hub in others):
            return network
        length -= 1


def _lan_networks(bundle: Bundle, system: System, answers: Answers) -> Value[tuple[Network, ...]]:
    """Return the networks to announce: those of this node's interfaces in its prefixes, or else the prefixes.

    bgpd announces a network only if there is a route to exactly this network.
    """
    if answers.networks is not None:
        return Value(answers.networks, _ANSWERS)
    prefixes = bundle.prefixes
    connected: list[Network] = [interface.network for _, interface in system.addresses]
    inside = tuple(dict.fromkeys(one for one in connected if any(covers(prefix, one) for prefix in prefixes)))
    if inside:
        return Value(inside, "the interfaces in the certificate's prefixes")
    return Value(prefixes, _CERTIFICATE)


def _allowed_networks(
    bundle: Bundle, answers: Answers, role: Role, tunnels: Sequence[Network]
) -> Value[tuple[Network, ...]]:
    if answers.allowed_networks is not None:
        return Value(answers.allowed_networks, _ANSWERS)
    for blocks, source in ((bundle.carried, _CERTIFICATE), (bundle.ca_blocks, "the CA's certificate")):
        apart = tuple(one for one in blocks if not any(covers(tunnel, one) for tunnel in tunnels))
        if apart:
            return Value(apart, source)
    return Value(_PRIVATE, _DEFAULT) if role is Role.HUB else Value((), "a spoke does not limit them")


def _uplink_question(uplinks: Sequence[Uplink]) -> str:
    listed = ", ".join(f"{one.interface} ({one.address})" for one in uplinks)
    return (
        f"This node has several default routes: {listed}. Its uplink"
        if uplinks
        else ("This node has no default route. Its uplink (interface or IPv4 address)")
    )


def _uplink(system: System, answers: Answers) -> tuple[Value[IPv4Address] | None, tuple[Refusal, ...]]:
    """Return the NBMA address: ``None`` without a refusal if the operator has to choose."""
    if answers.uplink is not None:
        return _named_uplink(answers.uplink, system)
    best = [one for one in system.uplinks if one.metric == system.uplinks[0].metric]
    if len(best) != 1:
        return None, ()
    only = best[0]
    if only.address is None:
        return None, (_without_address(only.interface),)
    return Value(only.address, f"the default route by {only.interface}"), ()


def _named_uplink(named: str, system: System) -> tuple[Value[IPv4Address] | None, tuple[Refusal, ...]]:
    own = [(interface, one.ip) for interface, one in system.addresses if isinstance(one.ip, IPv4Address)]
    for uplink in system.uplinks:
        if uplink.interface == named and uplink.address is not None:
            return Value(uplink.address, f"{_ANSWERS}: {named}"), ()
    for interface, address in own:
        if named in (interface, str(address)):
            return Value(address, f"{_ANSWERS}: {named}"), ()
    if named in system.links:
        return None, (_without_address(named),)
    return None, (Refusal("the uplink", f"{named} is neither an interface nor an IPv4 address of this node",
                          f"one of {', '.join(f'{name} ({address})' for name, address in own) or 'none'}",
                          "correct `uplink` in the answers"),)  # fmt: skip


def _without_address(interface: str) -> Refusal:
    return Refusal(f"the uplink {interface}", "it has no IPv4 address", "an NBMA address: nhrpd supports IPv4 only",
                   "give the interface an address, or name another one as `uplink`")  # fmt: skip


def _contradictions(bundle: Bundle, tunnels: Value[tuple[Network, ...]] | Question, role: Role) -> list[Refusal]:
    found = [
        Refusal("tunnel_networks", f"{address} is in none of {tunnels}",
                "the network of this node's protocol address", "correct `tunnel_networks` in the answers")
        for address in bundle.protocol_addresses
        if isinstance(tunnels, Value) and not contains(tunnels.value, address)
    ]  # fmt: skip
    if role is Role.HUB and bundle.role is Role.SPOKE:
        found.append(Refusal("the role", "hub, by the answers; the certificate names no hub", "a certificate that"
                             " says hub: spokes deny another one", "ask the CA for a hub's certificate"))  # fmt: skip
    return found
