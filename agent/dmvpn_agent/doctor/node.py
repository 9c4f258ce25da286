"""A node as ``dmvpn-agent doctor`` finds it: what each of its programs, and the kernel, says of itself.

A part that could not be looked at is ``Unseen``, with why: never taken for good.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.addresses import Network
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.charon.sa import Authentication


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why something could not be looked at. ``permission``: only because of who asks."""

    why: str
    permission: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration expects; ``nflog_group`` is ``None`` where no redirect rule is kept.

    ``announced`` are the tunnel networks that this node announces by BGP, as a hub does. ``serves_keys``: the policy
    has peers with a pre-shared key. ``ip_versions``: those of the protocol addresses on each tunnel. ``bgp_ipv6``:
    whether IPv6 prefixes are exchanged, ``None`` without BGP.
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


@dataclass(frozen=True, slots=True)
class SocketView:
    """A path where a Unix socket should be: where it leads to in the end, who may use it, whether it is served.

    ``served`` is ``None`` where whoever looks may not open it. ``refused`` names the program that uses it, and its
    user and group, if it may not. ``open_to`` names the group of others who may open it, where that is one too many.
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
    """A certificate whose key charon has."""

    subject: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class CharonView:
    """charon: ``modes`` has for each connection the mode of its child of the same name, ``None`` without one.

    ``plugins`` are those that it has loaded; ``methods``: how each connection authenticates its peers.
    """

    version: str
    patched: bool
    modes: Mapping[str, str | None]
    certificates: tuple[OwnCertificate, ...]
    plugins: frozenset[str]
    methods: Mapping[str, Authentication]


@dataclass(frozen=True, slots=True)
class TrapPolicy:
    """An outgoing policy of the kernel for GRE to anybody, from addresses in ``source``."""

    source: Network
    reqid: int
    mode: str


@dataclass(frozen=True, slots=True)
class NhrpdView:
    """nhrpd's configuration, as far as the agent needs it; ``profiles`` are by interface.

    ``networks`` and ``redirects`` have interface and IP version of each ``ip nhrp network-id`` and ``ip nhrp
    redirect``, and of those with ``ipv6``.
    """

    version: str
    event_socket: str | None
    nflog_group: int | None
    profiles: Mapping[str, str]
    networks: frozenset[tuple[str, int]]
    redirects: frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class LinkView:
    """A network interface; ``key`` is ``None`` where it has none. ``addresses``: all but link-local ones."""

    kind: str
    up: bool
    mtu: int
    key: str | None
    addresses: tuple[str, ...]
    link_local: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricsView:
    """Where a process is to serve its metrics; ``served``: ``False`` if another program answers, ``None`` if none."""

    listen: str
    served: bool | None


@dataclass(frozen=True, slots=True)
class NodeView:
    """All that was looked at. ``links`` lacks interfaces that are not there; ``bgp`` is ``None`` without BGP.

    ``routes`` has the type and protocol of the route to each of ``Wanted.announced`` that has one of its own.
    ``forwards`` and ``forwards_ipv6``: whether the kernel forwards packets of that IP version.
    ``swanctl_confined``: whether an AppArmor profile keeps swanctl from charon's socket. ``metrics`` has an entry for
    each of agent and bridge that is to serve them.
    """

    now: datetime
    versions: Mapping[str, str]
    charon: CharonView | Unseen
    traps: tuple[TrapPolicy, ...] | Unseen
    nhrpd: NhrpdView | Unseen
    sockets: Mapping[str, SocketView]
    links: Mapping[str, LinkView] | Unseen
    forwards: bool | Unseen
    forwards_ipv6: bool | Unseen
    routes: Mapping[Network, str] | Unseen
    swanctl_confined: bool | Unseen
    authorities: tuple[str, ...]
    trust_problems: tuple[str, ...]
    redirect: bool | Unseen
    bgp: tuple[BgpProblem, ...] | Unseen | None
    metrics: Mapping[str, MetricsView]
