"""What FRR must contain, computed from who is accepted.

Everything the agent owns in FRR is recognisable: prefix-lists by their name, neighbors by their description. Both
are made of parsed values only, never of text from a certificate.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from dmvpn_agent.core.model import Address, Peer, PeerKind
from dmvpn_agent.core.operator_bgp import OperatorBgp
from dmvpn_agent.core.prefix_filter import Entry, filter_entries

OWNER = "dmvpn-agent"


@dataclass(frozen=True, slots=True)
class MaximumPrefix:
    """How many prefixes of one address family a neighbor may have accepted; at one more bgpd ends the session.

    ``restart``: minutes until bgpd tries again, 0 for not before somebody clears the session. ``other``: an operator
    gave it a threshold, or had it only warn or count filtered prefixes as well. As text it is what FRR takes and
    shows, but for ``other``.
    """

    maximum: int
    restart: int = 0
    other: bool = False

    def __str__(self) -> str:
        return f"{self.maximum}" + (f" restart {self.restart}" if self.restart else "")


@dataclass(frozen=True, slots=True)
class BgpSettings:
    """The operator's BGP.

    ``peer_group`` is the spokes', ``hub_peer_group`` that of other hubs, ``ibgp_peer_group`` that of peers with the
    node's own AS number, ``ibgp_hub_peer_group`` that of hubs among those; an empty one is the same as that of other
    peers. ``ipv6``: IPv6 prefixes are exchanged over every session too. ``only_hubs``: as on a spoke, which has
    no sessions with its shortcuts. ``maximum_prefix``: the limit for a peer in each address family, and
    ``transit_maximum_prefix`` for one that announces for others, as a hub does. ``hub_weights``: how much the routes
    of hubs are preferred, by protocol address.
    """

    as_number: int
    peer_group: str
    hub_peer_group: str = ""
    ibgp_peer_group: str = ""
    ibgp_hub_peer_group: str = ""
    ipv6: bool = False
    maximum_prefix: MaximumPrefix | None = None
    transit_maximum_prefix: MaximumPrefix | None = None
    hub_weights: Mapping[Address, int] = field(default_factory=dict, hash=False)
    only_hubs: bool = False

    def group_of(self, peer: Peer) -> str:
        """Return the peer-group of a peer."""
        is_hub = peer.kind is PeerKind.HUB
        if peer.as_number == self.as_number and self.ibgp_peer_group:
            return (self.ibgp_hub_peer_group if is_hub else "") or self.ibgp_peer_group
        return (self.hub_peer_group if is_hub else "") or self.peer_group

    def maximum_of(self, peer: Peer) -> MaximumPrefix | None:
        """Return the limit of a peer in each address family."""
        return self.maximum_prefix if peer.transit is None else self.transit_maximum_prefix

    def weight_of(self, peer: Peer) -> int | None:
        """Return the weight of a hub's routes."""
        return self.hub_weights.get(peer.protocol_address) if peer.kind is PeerKind.HUB else None

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the peer-groups that must exist."""
        named = (self.peer_group, self.hub_peer_group, self.ibgp_peer_group, self.ibgp_hub_peer_group)
        return tuple(dict.fromkeys(group for group in named if group))


#: The last entry of every list of ours. FRR takes a list without entries as permit everything.
DENY_ANY = Entry(permit=False, prefix=IPv4Network("0.0.0.0/0"), le=32)
DENY_ANY_IPV6 = Entry(permit=False, prefix=IPv6Network("::/0"), le=128)
DENY_ANY_SEQ = 4294967295


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP neighbor's lines that the agent writes; the prefix-lists filter what the neighbor announces to us.

    ``activates_ipv6``: IPv6 prefixes are exchanged with it. ``weight``: of two routes the one with more is taken.
    """

    address: Address
    as_number: int | None = None
    peer_group: str | None = None
    description: str | None = None
    prefix_list: str | None = None
    prefix_list_ipv6: str | None = None
    activates_ipv6: bool = False
    maximum_prefix: MaximumPrefix | None = None
    maximum_prefix_ipv6: MaximumPrefix | None = None
    weight: int | None = None
    weight_ipv6: int | None = None

    @property
    def prefix_lists(self) -> tuple[str, ...]:
        """Return the names of its filters."""
        return tuple(name for name in (self.prefix_list, self.prefix_list_ipv6) if name is not None)


@dataclass(frozen=True, slots=True)
class Desired:
    """Neighbors by address; entries by prefix-list name, denials to stand first (``deny any`` ends each)."""

    neighbors: Mapping[Address, Neighbor] = field(default_factory=dict)
    prefix_lists: Mapping[str, frozenset[Entry]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the running configuration holds: the default BGP instance and every prefix-list, entries by seq.

    ``as_number`` is ``None`` where no BGP instance is configured. ``requires_policy``: ``bgp ebgp-requires-policy``.
    ``activates_ipv4``: ``bgp default ipv4-unicast``, a neighbor is active before it has its filter. ``operator``: the
    rest of the instance, as far as it matters; it is never a difference to the desired state.
    """

    as_number: int | None = None
    requires_policy: bool = True
    activates_ipv4: bool = True
    peer_groups: frozenset[str] = frozenset()
    neighbors: Mapping[Address, Neighbor] = field(default_factory=dict)
    prefix_lists: Mapping[str, Mapping[int, Entry]] = field(default_factory=dict)
    operator: OperatorBgp = field(default=OperatorBgp(), compare=False)


def list_name(address: Address, version: int = 4) -> str:
    """Return the name of a peer's prefix-list: by peer, because two spokes may share an AS."""
    return f"{OWNER}-{address}-in{'6' if version == 6 else ''}"


def list_version(name: str) -> int:
    """Return the IP version of one of the agent's prefix-lists."""
    return 6 if name.endswith("-in6") else 4


def deny_any(name: str) -> Entry:
    """Return what one of the agent's prefix-lists ends in."""
    return DENY_ANY_IPV6 if list_version(name) == 6 else DENY_ANY


def owns_list(name: str) -> bool:
    """Tell whether a prefix-list is the agent's."""
    return name.startswith(f"{OWNER}-")


def owns_neighbor(neighbor: Neighbor) -> bool:
    """Tell whether a neighbor is the agent's."""
    return (neighbor.description or "").split(" ")[0] == OWNER


def carriers(
    peers: Iterable[Peer], settings: BgpSettings, absent: Collection[Address] = ()
) -> Mapping[Address, Peer]:
    """Return which binding carries the neighbor of a peer, by the protocol address of each of the peer's bindings.

    A peer with several protocol addresses has one neighbor, by which it announces the prefixes of both IP versions:
    that of its lowest IPv4 address, or of its lowest IPv6 address if it has no IPv4 address. Those in ``absent`` come
    last. One peer is what has one identity at one NBMA address of one interface. A peer without an AS number is
    missing.
    """
    bindings: dict[tuple[str, str, Address], list[Peer]] = {}
    for peer in peers:
        if peer.as_number is not None and not (settings.only_hubs and peer.kind is not PeerKind.HUB):
            who = peer.identity or str(peer.protocol_address)
            bindings.setdefault((peer.interface, who, peer.nbma_address), []).append(peer)
    found: dict[Address, Peer] = {}
    for together in bindings.values():
        carrier = min(together, key=lambda peer: (peer.protocol_address in absent, *_precedence(peer)))
        found |= {peer.protocol_address: carrier for peer in together}
    return found


def _precedence(peer: Peer) -> tuple[int, int]:
    return peer.protocol_address.version, int(peer.protocol_address)


def desired(peers: Iterable[Peer], settings: BgpSettings, absent: Collection[Address] = ()) -> Desired:
    """Return what FRR must contain for these peers: a neighbor for each of the ``carriers``, and its filters."""
    neighbors: dict[Address, Neighbor] = {}
    prefix_lists: dict[str, frozenset[Entry]] = {}
    for address, peer in carriers(peers, settings, absent).items():
        if peer.protocol_address != address:
            continue
        names = {
            version: list_name(peer.protocol_address, version) for version in ((4, 6) if settings.ipv6 else (4,))
        }
        for version, name in names.items():
            prefix_lists[name] = filter_entries(peer, version)
        neighbors[peer.protocol_address] = Neighbor(
            address=peer.protocol_address,
            as_number=peer.as_number,
            peer_group=settings.group_of(peer),
            description=_description(peer),
            prefix_list=names[4],
            prefix_list_ipv6=names.get(6),
            activates_ipv6=settings.ipv6,
            maximum_prefix=settings.maximum_of(peer),
            maximum_prefix_ipv6=settings.maximum_of(peer) if settings.ipv6 else None,
            weight=settings.weight_of(peer),
            weight_ipv6=settings.weight_of(peer) if settings.ipv6 else None,
        )
    return Desired(neighbors, prefix_lists)


def _description(peer: Peer) -> str:
    # The owner comes first: it marks the neighbor. The name is next, where bgpd's narrow summary still has room.
    name = f" {peer.label}" if peer.label else ""
    return f"{OWNER}{name} certificate {peer.fingerprint[:16] or 'none'}"
