"""The BGP configuration that the accepted peers call for."""

from collections.abc import Collection, Iterable, Mapping

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import OWNER, Desired, Neighbor, list_name
from dmvpn_agent.bgp.prefix_filter import Entry, filter_entries
from dmvpn_agent.bgp.settings import BgpSettings
from dmvpn_agent.policy.peer import Peer, PeerKind


def neighbor_bindings(
    peers: Iterable[Peer], settings: BgpSettings, absent: Collection[Address] = ()
) -> Mapping[Address, Peer]:
    """Return which binding has a peer's neighbor, by the protocol address of each of the peer's bindings.

    A peer with several protocol addresses has one neighbor, which announces the prefixes of both IP versions: at its
    lowest IPv4 address, or at its lowest IPv6 address if it has no IPv4 address. Addresses in ``absent`` come last.
    Bindings with one identity at one NBMA address of one interface are one peer. Peers without an AS number are left
    out.
    """
    bindings: dict[tuple[str, str, Address], list[Peer]] = {}
    for peer in peers:
        if peer.as_number is not None and not (settings.only_hubs and peer.kind is not PeerKind.HUB):
            identity = peer.identity or str(peer.protocol_address)
            bindings.setdefault((peer.interface, identity, peer.nbma_address), []).append(peer)
    found: dict[Address, Peer] = {}
    for of_one_peer in bindings.values():
        best = min(of_one_peer, key=lambda peer: (peer.protocol_address in absent, *_precedence(peer)))
        found |= {peer.protocol_address: best for peer in of_one_peer}
    return found


def _precedence(peer: Peer) -> tuple[int, int]:
    return peer.protocol_address.version, int(peer.protocol_address)


def desired(peers: Iterable[Peer], settings: BgpSettings, absent: Collection[Address] = ()) -> Desired:
    """Return what FRR must contain for these peers: one neighbor for each, and its filters."""
    neighbors: dict[Address, Neighbor] = {}
    prefix_lists: dict[str, frozenset[Entry]] = {}
    for address, peer in neighbor_bindings(peers, settings, absent).items():
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


def members_by_group(wanted: Desired, settings: BgpSettings) -> Mapping[str, list[Neighbor]]:
    """Return the peer-groups that the agent uses, each with the neighbors that belong to it."""
    members: dict[str, list[Neighbor]] = {group: [] for group in settings.groups}
    for neighbor in wanted.neighbors.values():
        members.setdefault(neighbor.peer_group or settings.peer_group, []).append(neighbor)
    return members


def _description(peer: Peer) -> str:
    # OWNER first marks the neighbor as the agent's; the label next still fits into bgpd's narrow summary.
    name = f" {peer.label}" if peer.label else ""
    return f"{OWNER}{name} certificate {peer.fingerprint[:16] or 'none'}"
