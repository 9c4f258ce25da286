"""An accepted peer, and the kinds of peer there are."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.x509.certificate import Label


class PeerKind(StrEnum):
    """What a peer is to this node: each kind may have rules of its own."""

    #: A hub: by the role in its certificate, or because this node registers with it.
    HUB = "hub"
    #: A spoke, to a hub.
    SPOKE = "spoke"
    #: A spoke, to another spoke.
    SHORTCUT = "shortcut"


@dataclass(frozen=True, slots=True)
class Peer:
    """An accepted peer: one binding and what its certificate, or the static table, entitles it to.

    ``as_number`` is ``None`` if the node runs no BGP with it, also in quarantine. ``identity`` stays the same when
    the certificate is renewed. ``fingerprint`` is empty and ``not_after`` is ``None`` without a certificate.
    ``max_prefix_length``: the longest prefix accepted from it inside its prefixes, IPv4 and IPv6. ``transit``: what
    it may announce for others, as a hub does for its spokes, each network with the longest prefix length; ``None`` if
    it announces only its own prefixes. ``withheld``: no prefix that overlaps these networks is accepted from it.
    ``default_route``: 0.0.0.0/0 and ::/0 are accepted from it if they are in what it may announce. ``label``: its
    name for people. ``site``: peers with the same one may hold the same prefixes (``OnConflict.SHARE``); empty for a
    peer that shares with no other. ``groups``: the names of its groups (``Groups``). ``suspended``: its own prefixes
    while it is in quarantine; it may not use them, but its groups' rules hold for them.
    """

    protocol_address: Address
    nbma_address: Address
    interface: str
    as_number: int | None
    prefixes: tuple[Network, ...]
    fingerprint: str
    subject: str
    not_after: datetime | None
    kind: PeerKind = PeerKind.SPOKE
    identity: str = ""
    quarantined: bool = False
    max_prefix_length: tuple[int, int] = (32, 128)
    transit: tuple[tuple[Network, int], ...] | None = None
    withheld: tuple[Network, ...] = ()
    default_route: bool = False
    label: Label | None = None
    site: str = ""
    groups: tuple[str, ...] = ()
    suspended: tuple[Network, ...] = ()

    @property
    def announces(self) -> tuple[tuple[Network, int], ...]:
        """Return what is accepted from it, each network with the longest prefix length: its own, or for others."""
        if self.transit is not None:
            return self.transit
        return tuple((prefix, self.max_prefix_length[prefix.version == 6]) for prefix in self.prefixes)

    @property
    def own_networks(self) -> frozenset[Network]:
        """Return its protocol address and its own prefixes, also in quarantine, without what it carries for others.

        A default route is among those: each other peer's addresses are in it.
        """
        prefixes = (prefix for prefix in (*self.prefixes, *self.suspended) if prefix.prefixlen > 0)
        return frozenset({ip_network(self.protocol_address), *prefixes})

    def in_quarantine(self) -> "Peer":
        """Return it as a peer that may announce and send nothing."""
        suspended = (*self.prefixes, *self.suspended)
        return replace(self, quarantined=True, as_number=None, prefixes=(), transit=None, suspended=suspended)
