"""What FRR must contain, computed from who is accepted.

Everything the agent owns in FRR is recognisable: prefix-lists by their name, neighbors by their description. Both
are made of parsed values only, never of text from a certificate.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from dmvpn_agent.core.model import Address, Network, Peer

OWNER = "dmvpn-agent"


@dataclass(frozen=True, slots=True)
class BgpSettings:
    """The operator's BGP: own AS, the spokes' peer-group."""

    as_number: int
    peer_group: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One prefix-list entry: ``prefix`` and, where given, the shortest and longest prefix length inside it."""

    permit: bool
    prefix: Network
    ge: int | None = None
    le: int | None = None


#: The last entry of every list of ours. FRR takes a list without entries as permit everything.
DENY_ANY = Entry(permit=False, prefix=IPv4Network("0.0.0.0/0"), le=32)
DENY_ANY_SEQ = 4294967295


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP neighbor's lines that the agent writes; ``prefix_list`` filters what the neighbor announces to us."""

    address: Address
    as_number: int | None = None
    peer_group: str | None = None
    description: str | None = None
    prefix_list: str | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """Neighbors by address; permitted entries by prefix-list name (``DENY_ANY`` goes without saying)."""

    neighbors: Mapping[Address, Neighbor] = field(default_factory=dict)
    prefix_lists: Mapping[str, frozenset[Entry]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the running configuration holds: the default BGP instance and every IPv4 prefix-list, entries by seq.

    ``as_number`` is ``None`` where no BGP instance is configured.
    """

    as_number: int | None = None
    requires_policy: bool = True
    peer_groups: frozenset[str] = frozenset()
    neighbors: Mapping[Address, Neighbor] = field(default_factory=dict)
    prefix_lists: Mapping[str, Mapping[int, Entry]] = field(default_factory=dict)


def list_name(address: Address) -> str:
    """Return the name of a peer's prefix-list: by peer, because two spokes may share an AS."""
    return f"{OWNER}-{address}-in"


def owns_list(name: str) -> bool:
    """Tell whether a prefix-list is the agent's."""
    return name.startswith(f"{OWNER}-")


def owns_neighbor(neighbor: Neighbor) -> bool:
    """Tell whether a neighbor is the agent's."""
    return (neighbor.description or "").split(" ")[0] == OWNER


def desired(peers: Iterable[Peer], settings: BgpSettings) -> Desired:
    """Return what FRR must contain for these peers; a peer without an AS number gets nothing."""
    neighbors: dict[Address, Neighbor] = {}
    prefix_lists: dict[str, frozenset[Entry]] = {}
    for peer in peers:
        if peer.as_number is None:
            continue
        name = list_name(peer.protocol_address)
        prefix_lists[name] = frozenset(
            _permit(prefix, peer.max_prefix_length[0]) for prefix in peer.prefixes if isinstance(prefix, IPv4Network)
        )
        neighbors[peer.protocol_address] = Neighbor(
            address=peer.protocol_address,
            as_number=peer.as_number,
            peer_group=settings.peer_group,
            description=f"{OWNER} certificate {peer.fingerprint[:16]}",
            prefix_list=name,
        )
    return Desired(neighbors, prefix_lists)


def _permit(prefix: IPv4Network, longest: int) -> Entry:
    # FRR refuses `le` where it is not longer than the prefix itself.
    return Entry(permit=True, prefix=prefix, le=longest if longest > prefix.prefixlen else None)


def problems(observed: Observed, settings: BgpSettings) -> tuple[str, ...]:
    """Return what in the operator's part of FRR keeps the agent from working, each with what to do."""
    if observed.as_number is None:
        return (f"FRR has no BGP instance; add `router bgp {settings.as_number}`",)
    found = []
    if observed.as_number != settings.as_number:
        found.append(
            f"FRR runs `router bgp {observed.as_number}`, bgp.as_number is {settings.as_number}; make them the same"
        )
    if settings.peer_group not in observed.peer_groups:
        found.append(
            f"FRR has no peer-group {settings.peer_group}; add `neighbor {settings.peer_group} peer-group`"
            " or set bgp.peer_group"
        )
    return tuple(found)
