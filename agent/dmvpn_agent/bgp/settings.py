"""The settings in ``[bgp]``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dmvpn_agent.addresses import Address
from dmvpn_agent.policy.peer import Peer, PeerKind


@dataclass(frozen=True, slots=True)
class Instance:
    """A BGP instance of bgpd: ``router bgp N``, or ``router bgp N vrf X``. ``vrf`` is empty for the default one."""

    as_number: int
    vrf: str = ""

    def __str__(self) -> str:
        return f"router bgp {self.as_number}" + (f" vrf {self.vrf}" if self.vrf else "")

    @property
    def in_show(self) -> str:
        """Return the words that name it after ``show bgp`` and ``clear bgp``, with a space at the end."""
        return f"vrf {self.vrf} " if self.vrf else ""


@dataclass(frozen=True, slots=True)
class MaximumPrefix:
    """The number of prefixes that bgpd accepts from a neighbor in one address family; one more ends the session.

    ``restart``: minutes until bgpd tries again, 0 for not before an operator clears the session. ``other``: FRR has
    options that the agent does not write (threshold, warning-only, force). ``str()`` gives FRR's syntax without them.
    """

    maximum: int
    restart: int = 0
    other: bool = False

    def __str__(self) -> str:
        return f"{self.maximum}" + (f" restart {self.restart}" if self.restart else "")


@dataclass(frozen=True, slots=True)
class BgpSettings:
    """How the agent configures BGP.

    Peer-groups: ``peer_group`` for spokes, ``hub_peer_group`` for other hubs, ``ibgp_peer_group`` for peers with the
    node's own AS number, ``ibgp_hub_peer_group`` for hubs among those; an empty one means that of other peers.
    ``ipv6``: every session exchanges IPv6 prefixes too. ``only_hubs``: neighbors for hubs only, as on a spoke, which
    has no sessions with its shortcuts. ``maximum_prefix``: the limit of a peer in each address family;
    ``transit_maximum_prefix``: that of a peer that announces for others, as a hub does. ``hub_weights``: the weight
    of a hub's routes, by protocol address. ``vrf``: that of the BGP instance, empty for the default one.
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
    vrf: str = ""

    @property
    def instance(self) -> Instance:
        """Return the BGP instance that the agent writes."""
        return Instance(self.as_number, self.vrf)

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
