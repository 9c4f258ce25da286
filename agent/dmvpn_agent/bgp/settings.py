"""The operator's ``[bgp]``, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dmvpn_agent.addresses import Address
from dmvpn_agent.policy.peer import Peer, PeerKind


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
