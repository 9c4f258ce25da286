"""A node as ``dmvpn-agent doctor`` reads it: the state of its programs and of the kernel.

A part that cannot be read is ``Unknown``, with the reason, and never counts as correct.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address

from dmvpn_agent.addresses import Network
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.charon.sa import Authentication
from dmvpn_agent.doctor.clock import ClockView
from dmvpn_agent.kernel.firewalls.flows import NO_FIREWALLS, FirewallView
from dmvpn_agent.kernel.iptables.chain import NO_CHAINS, Chain, ChainState
from dmvpn_agent.kernel.links.preview import NO_LINKS, LinkPreview
from dmvpn_agent.kernel.nftables.source_filter import FilterMode
from dmvpn_agent.renewal.state import RenewalState
from dmvpn_agent.runtime.url import Url

#: The path that is compiled into nhrpd.
NHRPD_VICI = "/run/charon.vici"
#: A host in the Internet (RFC 5737), for questions about routes where the node knows none.
SOMEWHERE = IPv4Address("198.51.100.1")
#: The value of ``rp_filter`` with which the kernel drops packets that came by another way than answers go.
STRICT = 1
#: The title of the section that keeps GRE without IPsec out.
GUARD_TITLE = "GRE guard"
#: FRR's keyword for an IP version.
FAMILIES = {4: "ip", 6: "ipv6"}


@dataclass(frozen=True, slots=True)
class Unknown:
    """The reason why something cannot be read. ``permission``: another user could read it."""

    why: str
    permission: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What the configuration expects of the node.

    ``nflog_group`` is ``None`` if the agent keeps no redirect rule, ``multicast_group`` if no multicast rule.
    ``announced``: the tunnel networks that this node announces by BGP, as a hub does. ``serves_keys``: the policy
    has peers with a pre-shared key. ``ip_versions``: those of the protocol addresses on each tunnel.
    ``bgp_ipv6``: whether the BGP sessions exchange IPv6 prefixes; ``None`` without BGP. ``sections``: what each
    section of the agent's nftables table has in it, by its title; ``chains``: what the agent has in iptables, by
    IP version. ``vrfs``: the tunnel interfaces that are configured into a VRF. ``guard``: the mode of the GRE guard.
    """

    tunnels: Mapping[str, str]
    event_socket: str
    vici_socket: str
    bridge_socket: str
    nflog_group: int | None
    ca_certificates: tuple[str, ...]
    announced: tuple[Network, ...]
    ip_versions: Mapping[str, frozenset[int]]
    bgp_ipv6: bool | None
    serves_keys: bool = False
    multicast_group: int | None = None
    sections: Mapping[str, frozenset[str]] = field(default_factory=dict)
    chains: Mapping[int, Chain] = field(default_factory=dict)
    vrfs: Mapping[str, str] = field(default_factory=dict)
    guard: FilterMode = FilterMode.OFF

    @property
    def has_ipv6(self) -> bool:
        """Tell whether a tunnel network is IPv6."""
        return any(6 in versions for versions in self.ip_versions.values())


@dataclass(frozen=True, slots=True)
class SocketView:
    """A path that should be a Unix socket.

    ``leads_to``: the path with all links resolved. ``access``: mode and owner. ``served``: whether a program listens;
    ``None`` if the doctor may not open the socket. ``refused``: the program that must use the socket and may not,
    with its user and group. ``open_to``: a group whose members may open the socket and must not.
    """

    path: str
    leads_to: str
    there: bool
    access: str = ""
    served: bool | None = None
    refused: str = ""
    open_to: str = ""


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """A certificate whose private key charon has; ``crl_urls``: where it says that its issuer's CRL is."""

    subject: str
    not_before: datetime
    not_after: datetime
    crl_urls: tuple[Url, ...] = ()


@dataclass(frozen=True, slots=True)
class SaView:
    """A CHILD_SA that carries traffic: algorithms by strongSwan's names, and the peer's NBMA address."""

    profile: str
    peer: str
    encryption: str
    integrity: str
    udp_encapsulated: bool


@dataclass(frozen=True, slots=True)
class CharonView:
    """charon. ``modes``: for each connection the mode of its child of the same name, ``None`` without such a child.

    ``plugins``: the loaded plugins. ``methods``: how each connection authenticates its peers. ``of_any_ca``: the
    connections that take certificates of each CA that charon trusts. ``foreign_authorities``: the CAs, among those
    that charon lists, that are not the operator's; charon need not trust them.
    """

    version: str
    patched: bool
    modes: Mapping[str, str | None]
    certificates: tuple[OwnCertificate, ...]
    plugins: frozenset[str]
    methods: Mapping[str, Authentication]
    sas: tuple[SaView, ...] = ()
    of_any_ca: frozenset[str] = frozenset()
    foreign_authorities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrapPolicy:
    """An outgoing IPsec policy of the kernel for GRE from addresses in ``source`` to any address."""

    source: Network
    reqid: int
    mode: str


@dataclass(frozen=True, slots=True)
class NhrpdView:
    """The part of nhrpd's configuration that the agent needs. ``profiles``: by interface.

    ``networks``, ``redirects`` and ``multicasts``: interface and IP version of each ``network-id``, each ``redirect``
    and each ``map multicast``, from the lines ``ip nhrp …`` and ``ipv6 nhrp …``.
    """

    version: str
    event_socket: str | None
    nflog_group: int | None
    profiles: Mapping[str, str]
    networks: frozenset[tuple[str, int]]
    redirects: frozenset[tuple[str, int]]
    multicast_group: int | None = None
    multicasts: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class LinkView:
    """A network interface. ``key``: the GRE key, if any. ``addresses``: all but the link-local ones.

    ``local`` and ``device``: a tunnel's NBMA address and uplink, if it names them.
    """

    kind: str
    up: bool
    mtu: int
    key: str | None
    addresses: tuple[str, ...]
    link_local: tuple[str, ...] = ()
    local: str | None = None
    device: str | None = None
    multicast: bool = False


@dataclass(frozen=True, slots=True)
class NbmaRoute:
    """How the kernel routes between one of the node's NBMA addresses and a host far away.

    ``interface`` has the address. ``leaves_by``: the interface of the route to ``far``, empty if there is none.
    ``is_refused``: the kernel drops packets from ``far`` that come by ``interface`` (``rp_filter``).
    """

    interface: str
    address: str
    far: str
    leaves_by: str
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class PathProbe:
    """How large packets to a peer through a tunnel interface may be. ``mtu``: the interface's.

    ``largest``: of the largest packet that was answered, ``None`` if none was. ``where`` the larger ones are lost.
    """

    interface: str
    peer: str
    mtu: int
    largest: int | None
    where: str = ""


@dataclass(frozen=True, slots=True)
class RunningView:
    """The configuration file beside the one that the running agent has applied.

    ``changed``: when the file was changed last. ``read``: when the agent read what it has applied.
    ``restart_needed``: the changed keys that count only after a restart.
    """

    file: str
    changed: datetime
    read: datetime
    restart_needed: tuple[str, ...] = ()


class PortName(StrEnum):
    """The TCP ports of agent, bridge and page."""

    AGENT = "metrics, agent"
    BRIDGE = "metrics, bridge"
    PAGE = "page"
    MIRROR = "CRL mirror"


@dataclass(frozen=True, slots=True)
class PortView:
    """A TCP port. ``served``: ``False`` if another program answers, ``None`` if no program listens."""

    listen: str
    served: bool | None


@dataclass(frozen=True, slots=True)
class NodeView:
    """Everything that the doctor read. ``links``: the existing interfaces. ``bgp`` is ``None`` without BGP.

    ``routes``: type and protocol of the route to each network in ``Expected.announced`` that has one.
    ``forwards`` and ``forwards_ipv6``: whether the kernel forwards packets of that IP version.
    ``swanctl_confined``: whether an AppArmor profile denies swanctl charon's socket. ``ports``: those that are
    configured. ``tunnels``: what differs from ``[tunnel.NAME]``. ``probes``: with ``--probe``.
    ``crl_fetches``: for each address of a CRL why none could be fetched just now, ``""`` if one could.
    ``refusals``: by title, why nft refuses a section of the table, and what to do. ``guard_refusal``: why nft refuses
    the GRE guard, empty if it does not. ``neighbours``: by interface, the commands without which the kernel asks IPv6
    neighbours by itself.
    ``renewal`` of the own certificate is ``None`` without ``renewal.server``. ``unresolved_hubs``: the hubs' DNS
    names that nhrpd has not resolved, each with why this machine does not either, ``""`` if it does.
    ``mutual_hubs``: see ``unfinished.mutual_hubs``. ``placeholders``: where FRR's, strongSwan's and the tunnel's
    files have some left. ``nbma_routes``: of the NBMA addresses of uplinks and tunnels; ``rp_filters``: what is in
    force for each tunnel interface that exists.
    ``placeholders``: where FRR's, strongSwan's and the tunnel's files have some left. ``nbma_routes``: of the NBMA
    addresses of uplinks and tunnels; ``rp_filters``: what is in force for each tunnel interface that exists.
    ``firewalls``: what the rules of other programs drop.
    ``running`` is ``None`` if no agent answers, which another check reports.
    """

    now: datetime
    versions: Mapping[str, str]
    charon: CharonView | Unknown
    traps: tuple[TrapPolicy, ...] | Unknown
    nhrpd: NhrpdView | Unknown
    sockets: Mapping[str, SocketView]
    links: Mapping[str, LinkView] | Unknown
    forwards: bool | Unknown
    forwards_ipv6: bool | Unknown
    routes: Mapping[Network, str] | Unknown
    swanctl_confined: bool | Unknown
    authorities: tuple[str, ...]
    trust_problems: tuple[str, ...]
    table: frozenset[str] | Unknown
    bgp: tuple[BgpProblem, ...] | Unknown | None
    ports: Mapping[PortName, PortView]
    iptables: ChainState | Unknown = NO_CHAINS
    tunnels: LinkPreview = NO_LINKS
    probes: tuple[PathProbe, ...] = ()
    crl_fetches: Mapping[str, str] = field(default_factory=dict)
    refusals: Mapping[str, tuple[str, str]] | Unknown = field(default_factory=dict)
    guard_refusal: str | Unknown = ""
    renewal: RenewalState | None = None
    neighbours: Mapping[str, str] | Unknown = field(default_factory=dict)
    unresolved_hubs: Mapping[str, str] | Unknown = field(default_factory=dict)
    mutual_hubs: tuple[str, ...] | Unknown = ()
    placeholders: tuple[str, ...] | Unknown = ()
    nbma_routes: tuple[NbmaRoute, ...] | Unknown = ()
    rp_filters: Mapping[str, int] | Unknown = field(default_factory=dict)
    running: RunningView | None = None
    clock: ClockView | Unknown = field(default_factory=ClockView)
    firewalls: FirewallView | Unknown = NO_FIREWALLS
