"""What a node's files are rendered from: every value is parsed, so that no text from a bundle gets into a file."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, TypeVar

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.setup.system import FirewallBy, TunnelBy
from dmvpn_agent.x509.certificate import Role

#: swanctl's proposals: the first is what Linux nodes use among themselves, the others are for Cisco routers.
IKE_PROPOSALS = ("aes256gcm16-prfsha384-ecp384", "aes256-sha384-ecp384", "aes256-sha256-ecp256")
ESP_PROPOSALS = ("aes256gcm16-ecp384", "aes256gcm16", "aes256-sha256")
#: The tunnel's defaults, the same on every node of a DMVPN.
TUNNEL_KEY, TUNNEL_MTU = 42, 1400
#: The program as a package installs it.
PACKAGED_PROGRAM = "/usr/bin/dmvpn-agent"

T = TypeVar("T")


@dataclass(frozen=True)
class Families(Generic[T]):
    """Things of both IP versions, in the order in which they were given."""

    all: tuple[T, ...] = ()
    of_ipv6: frozenset[int] = frozenset()

    @cached_property
    def ipv4(self) -> tuple[T, ...]:
        """Return those of IPv4."""
        return tuple(one for number, one in enumerate(self.all) if number not in self.of_ipv6)

    @cached_property
    def ipv6(self) -> tuple[T, ...]:
        """Return those of IPv6."""
        return tuple(one for number, one in enumerate(self.all) if number in self.of_ipv6)


def addresses(given: Iterable[Address]) -> Families[Address]:
    """Return addresses by IP version."""
    listed = tuple(dict.fromkeys(given))
    return Families(listed, frozenset(i for i, one in enumerate(listed) if isinstance(one, IPv6Address)))


def networks(given: Iterable[Network]) -> Families[Network]:
    """Return networks by IP version."""
    listed = tuple(dict.fromkeys(given))
    return Families(listed, frozenset(i for i, one in enumerate(listed) if one.version == 6))


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub to register with.

    ``protocol_address``: ``None`` if nhrpd learns it from the hub. ``nbma``: an IPv4 address, or a DNS name, which
    nhrpd resolves each time.
    """

    nbma: str
    protocol_address: Address | None = None

    def __str__(self) -> str:
        return f"{self.protocol_address}={self.nbma}" if self.protocol_address else self.nbma


@dataclass(frozen=True, slots=True)
class HubLine:
    """A hub as FRR spells it: ``nhrp nhs <protocol_address> nbma <nbma>``."""

    protocol_address: str
    nbma: str


def hub_lines(hubs: Iterable[Hub], *, dynamic_is_ipv6: bool) -> Families[HubLine]:
    """Return hubs by the IP version of their protocol address; ``dynamic_is_ipv6``: that of the unknown ones."""
    lines, of_ipv6 = [], set()
    for number, hub in enumerate(hubs):
        lines.append(HubLine(str(hub.protocol_address or "dynamic"), hub.nbma))
        if dynamic_is_ipv6 if hub.protocol_address is None else hub.protocol_address.version == 6:
            of_ipv6.add(number)
    return Families(tuple(lines), frozenset(of_ipv6))


@dataclass(frozen=True, slots=True)
class Node:
    """A node, complete.

    ``bridged``: strongSwan is unpatched, and the bridge runs. ``dmvpn_ca``: certificates have dmvpn-ca's form.
    ``ibgp``: the nodes of the network may have one AS number. ``cisco``: routers with IOS are peers too.
    ``lan_networks``: the networks that this node announces. ``allowed_networks``: those that peers may have; on a
    spoke, empty for all. ``hubs``: on a hub, the other hubs. ``program``: the path of ``dmvpn-agent``.
    ``fetches_crls``: certificates say where CRLs are. ``renewal_server``: the EST server that renews the certificate,
    empty for none; then ``identity`` is the subject as swanctl reads it, and ``renewal_has_own_ca`` tells whether
    another CA than the DMVPN's has issued the server's certificate.
    """

    role: Role
    bridged: bool
    as_number: int
    nbma_address: IPv4Address
    protocol_addresses: tuple[Address, ...]
    tunnel_networks: tuple[Network, ...]
    lan_networks: tuple[Network, ...]
    allowed_networks: tuple[Network, ...]
    hubs: tuple[Hub, ...]
    dmvpn_ca: bool = False
    ibgp: bool = False
    cisco: bool = False
    tunnel_by: TunnelBy = TunnelBy.AGENT
    firewall: FirewallBy = FirewallBy.NONE
    key: int = TUNNEL_KEY
    mtu: int = TUNNEL_MTU
    program: str = field(default=PACKAGED_PROGRAM)
    fetches_crls: bool = False
    renewal_server: str = ""
    renewal_has_own_ca: bool = False
    identity: str = ""

    @property
    def has_ipv6(self) -> bool:
        """Tell whether the node has an IPv6 protocol address."""
        return any(address.version == 6 for address in self.protocol_addresses)

    @property
    def registers_with(self) -> tuple[Hub, ...]:
        """Return the hubs that nhrpd registers with: on a hub, those with a lower address, and not the node itself.

        Of two hubs that register with each other's address, nhrpd refuses one. Both hubs know both protocol
        addresses; behind NAT, neither knows the NBMA addresses of both as the other one does.
        """
        if self.role is Role.SPOKE:
            return self.hubs
        return tuple(hub for hub in self.hubs if self._is_above(hub))

    def _is_above(self, hub: Hub) -> bool:
        """Tell whether a hub's protocol address is lower or, if that is not known, its NBMA address, or a name."""
        for own in self.protocol_addresses:
            if hub.protocol_address is not None and hub.protocol_address.version == own.version:
                return int(hub.protocol_address) < int(own)
        try:
            return IPv4Address(hub.nbma) < self.nbma_address
        except ValueError:
            return True

    @property
    def router_id(self) -> IPv4Address:
        """Return BGP's router id: an IPv4 protocol address, or else the NBMA address."""
        of_ipv4 = (address for address in self.protocol_addresses if isinstance(address, IPv4Address))
        return next(of_ipv4, self.nbma_address)
