"""Neighbors and prefix-lists as values, and which of them are the agent's.

Everything the agent owns in FRR is recognisable: prefix-lists by their name, neighbors by their description. Both
are made of parsed values only, never of text from a certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.operator_bgp import OperatorBgp
from dmvpn_agent.bgp.prefix_filter import Entry
from dmvpn_agent.bgp.settings import MaximumPrefix

OWNER = "dmvpn-agent"


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
