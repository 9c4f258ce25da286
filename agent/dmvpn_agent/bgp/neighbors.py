"""Neighbors and prefix-lists as values, and which of them are the agent's.

The agent recognises its own prefix-lists by their name and its own neighbors by their description. Both consist of
parsed values only, never of text from a certificate.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.operator_bgp import OperatorBgp
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.settings import MaximumPrefix

OWNER = "dmvpn-agent"


#: The last entry of each of the agent's lists: in FRR a list without entries permits everything.
DENY_ANY = Entry(permit=False, prefix=IPv4Network("0.0.0.0/0"), le=32)


DENY_ANY_IPV6 = Entry(permit=False, prefix=IPv6Network("::/0"), le=128)


DENY_ANY_SEQ = 4294967295


@dataclass(frozen=True, slots=True)
class Neighbor:
    """The lines of a BGP neighbor that the agent writes. The prefix-lists filter what the neighbor announces.

    ``activates_ipv6``: it is active in IPv6 unicast. ``weight``: bgpd prefers the route with the higher weight.
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
    """Neighbors by address; entries by prefix-list name, of which denials come first and ``deny any`` last."""

    neighbors: Mapping[Address, Neighbor] = field(default_factory=dict)
    prefix_lists: Mapping[str, frozenset[Entry]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """The running configuration: the default BGP instance and every prefix-list, entries by sequence number.

    ``as_number`` is ``None`` if there is no BGP instance. ``requires_policy``: ``bgp ebgp-requires-policy``.
    ``activates_ipv4``: ``bgp default ipv4-unicast``, with which a neighbor is active before it has its filter.
    ``operator``: the rest of the instance, as far as it matters; the plan does not compare it.
    """

    as_number: int | None = None
    requires_policy: bool = True
    activates_ipv4: bool = True
    peer_groups: frozenset[str] = frozenset()
    neighbors: Mapping[Address, Neighbor] = field(default_factory=dict)
    prefix_lists: Mapping[str, Mapping[int, Entry]] = field(default_factory=dict)
    operator: OperatorBgp = field(default=OperatorBgp(), compare=False)


def addresses(neighbors: Iterable[Neighbor]) -> frozenset[Address]:
    """Return the addresses of neighbors."""
    return frozenset(neighbor.address for neighbor in neighbors)


def list_name(address: Address, version: int = 4) -> str:
    """Return the name of a peer's prefix-list. It has the address, because two spokes may share an AS number."""
    return f"{OWNER}-{address}-in{'6' if version == 6 else ''}"


def list_version(name: str) -> int:
    """Return the IP version of one of the agent's prefix-lists."""
    return 6 if name.endswith("-in6") else 4


def deny_any(name: str) -> Entry:
    """Return the last entry of one of the agent's prefix-lists."""
    return DENY_ANY_IPV6 if list_version(name) == 6 else DENY_ANY


def owns_list(name: str) -> bool:
    """Tell whether a prefix-list is the agent's."""
    return name.startswith(f"{OWNER}-")


def owns_neighbor(neighbor: Neighbor) -> bool:
    """Tell whether a neighbor is the agent's."""
    return (neighbor.description or "").split(" ")[0] == OWNER
