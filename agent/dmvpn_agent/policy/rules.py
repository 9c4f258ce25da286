"""The operator's policy, as values. ``Judge`` applies it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from dmvpn_agent.addresses import AsRange, Network
from dmvpn_agent.policy.groups import Groups
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.x509.certificate import Resources, Role, Source


class Combination(StrEnum):
    """How several sources are combined, separately for addresses, AS numbers, prefixes and role."""

    #: The first source, in the order of the policy, that names any.
    FIRST = "first"
    #: All that any source names.
    UNION = "union"
    #: The sources that name any must name the same.
    AGREE = "agree"


class OnConflict(StrEnum):
    """What happens if another live peer holds the peer's address, or part of its prefixes."""

    DENY = "deny"
    TAKE_OVER = "take_over"
    #: Peers of one site may hold the same prefixes (``Peer.site``); everything else is denied.
    SHARE = "share"


class Action(StrEnum):
    """What maintenance does with a peer."""

    DENY = "deny"
    #: The binding is accepted; the peer gets no BGP neighbor, and loses the one it had.
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Rules:
    """What one kind of peer may have on one interface.

    ``tunnel_networks``: protocol addresses must be in one. ``allowed_networks``: prefixes must be in one; an empty
    tuple allows none. ``forbidden_networks``: no prefix may overlap one. ``as_ranges``: the AS numbers it may have.
    ``allows_ibgp``: it may have this node's own AS number. ``needs_as_number``: the node runs BGP with it, so it must
    have exactly one. ``max_prefix_length``: IPv4 and IPv6. ``issuers``, ``subjects``: shell patterns of which one
    must match; an empty tuple allows any name. ``allows_hosts``: addresses outside the tunnel networks are bound if
    they are in a prefix of the peer; for spokes, whose nhrpd binds the hosts at the end of a shortcut (FRR,
    ``nhrp_shortcut_recv_resolution_rep``). ``transit``: it carries others' prefixes and may announce all of
    ``allowed_networks``, not only the prefixes in its certificate.
    """

    tunnel_networks: tuple[Network, ...]
    allowed_networks: tuple[Network, ...]
    as_ranges: tuple[AsRange, ...]
    needs_as_number: bool
    allowed: bool = True
    requires_hub_role: bool = False
    forbidden_networks: tuple[Network, ...] = ()
    allows_default_route: bool = False
    allows_ibgp: bool = False
    max_prefix_length: tuple[int, int] = (32, 128)
    max_protocol_addresses: int = 16
    max_prefixes: int = 200
    issuers: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    on_conflict: OnConflict = OnConflict.DENY
    allows_hosts: bool = False
    transit: bool = False

    def transit_networks(self) -> tuple[tuple[Network, int], ...]:
        """Return what a peer with ``transit`` may announce, each network with the longest prefix length.

        These are the networks behind other peers, and the tunnel networks: a hub has a route to each protocol
        address.
        """
        behind = ((network, self.max_prefix_length[network.version == 6]) for network in self.allowed_networks)
        return *behind, *((network, network.max_prefixlen) for network in self.tunnel_networks)


@dataclass(frozen=True, slots=True)
class StaticPeer:
    """A row of the static table (``[[policy.peer]]``), for IKE identities that match the shell pattern ``identity``.

    ``overrides``: the row is for peers with a certificate and replaces what the certificate names; otherwise it is
    for peers with a pre-shared key.
    """

    identity: str
    resources: Resources
    overrides: bool = False


@dataclass(frozen=True, slots=True)
class Maintenance:
    """An action on peers (``[[policy.maintenance]]``), by a pattern of their identity or by certificate serial."""

    action: Action
    identity: str | None = None
    serial: int | None = None

    def __str__(self) -> str:
        what = f"serial {self.serial:x}" if self.serial is not None else f"identity {self.identity}"
        return f"{self.action} of {what}"


@dataclass(frozen=True, slots=True)
class Policy:
    """All of the operator's rules.

    ``rules``: by tunnel interface, for every kind of peer. ``own_as_number``: the node's, ``None`` if it runs no BGP.
    ``sources``: those that count, in their order. ``requires_crl``: a certificate is accepted only while a current
    CRL of the issuer is known for it and for each CA of its chain. ``confirms_certificates``: a peer with an IKE_SA
    at the NBMA address must have authenticated with the certificate. ``overclaiming_issuers``: shell patterns of
    issuers whose certificates may name more resources (RFC 3779) than the issuers hold.
    """

    role: Role
    rules: Mapping[str, Mapping[PeerKind, Rules]]
    own_as_number: int | None = None
    sources: tuple[Source, ...] = (Source.SUBJECT, Source.SUBJECT_ALT_NAME, Source.RFC3779, Source.DMVPN_CA)
    combination: Combination = Combination.FIRST
    static_peers: tuple[StaticPeer, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    requires_crl: bool = False
    confirms_certificates: bool = True
    overclaiming_issuers: tuple[str, ...] = ()
    groups: Groups = field(default_factory=Groups)

    @property
    def kinds(self) -> tuple[PeerKind, PeerKind]:
        """Return the kinds of peer that a node of this role has."""
        return PeerKind.HUB, PeerKind.SPOKE if self.role is Role.HUB else PeerKind.SHORTCUT

    def own_as_number_towards(self, kind: PeerKind) -> int | None:
        """Return the node's AS number if it has BGP sessions with this kind of peer: with the same AS they are iBGP.

        Spokes have no session with each other, so they may share their AS number.
        """
        return None if kind is PeerKind.SHORTCUT else self.own_as_number

    @property
    def ip_versions(self) -> Mapping[str, frozenset[int]]:
        """Return the IP versions of the protocol addresses that peers can have on each tunnel interface."""
        return {
            interface: frozenset(network.version for one in kinds.values() for network in one.tunnel_networks)
            for interface, kinds in self.rules.items()
        }


def matches(pattern: str, texts: frozenset[str] | tuple[str, ...]) -> bool:
    """Tell whether one of the texts matches a shell pattern; case counts."""
    return any(fnmatchcase(text, pattern) for text in texts)
