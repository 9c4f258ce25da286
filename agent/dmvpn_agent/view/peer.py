"""A peer as an operator sees it: one value with what charon, nhrpd, bgpd and the agent know of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.sa import NO_TRAFFIC, IkeSa, Traffic
from dmvpn_agent.policy.decision import Deny
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.track import UNTRACKED, Track


class Expectation(StrEnum):
    """Why a peer is shown also while nothing of it is there."""

    #: A row of ``[[peers.expected]]``.
    CONFIGURED = "configured"
    #: The agent accepted it once, and no operator has forgotten it since.
    LEARNED = "learned"
    #: It is shown only while it is there.
    NO = "no"


@dataclass(frozen=True, slots=True)
class Binding:
    """A protocol address of a peer.

    ``nbma_address``: where nhrpd, or the peer's last request, has it. ``type``: of its row in nhrpd's cache; empty if
    it has none. ``absent_since``: when an accepted peer was first missing there.
    """

    protocol_address: Address
    nbma_address: Address
    type: str = ""
    absent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class BgpState:
    """A peer's BGP session.

    ``neighbor``: its address. ``state``: bgpd's, ``none`` without a neighbor, or ``unknown`` if bgpd
    cannot be read, and then the counts are 0. ``accepted``: the prefixes that its
    filter accepted; ``accepted_ipv6``: how many of them are of IPv6, ``None`` if the session exchanges none.
    ``filtered``: how often the filter refused one since it was written, ``None`` while any is
    accepted. ``allowed``: the networks that it may announce. ``over_limit``: bgpd ended the session because of its
    ``maximum-prefix``. ``since``: when the session came up. ``drops``: how often it went down, as bgpd counts.
    ``drops_prefixes_of``: the neighbors whose prefixes it receives and drops, because they have its own AS number.
    """

    neighbor: Address
    state: str
    accepted: int
    filtered: int | None
    allowed: tuple[Network, ...]
    over_limit: bool = False
    since: datetime | None = None
    drops: int = 0
    accepted_ipv6: int | None = None
    drops_prefixes_of: tuple[Address, ...] = ()

    @property
    def established(self) -> bool:
        """Tell whether the session is up."""
        return self.state == "Established"


@dataclass(frozen=True, slots=True)
class JoinedPeer:
    """One peer: one identity on one tunnel interface.

    ``name``: one word, unique among the peers; the label ``peer`` of every metric of a peer. ``key``: identity and
    interface, which stay the same when the certificate is renewed. ``why``: what keeps it from the next stage, in
    words; of one that is up, that it is in quarantine, or nothing. ``since``: when it came to its stage, ``None`` if
    that was before the agent knew it.

    ``kind`` is ``None`` as long as no decision tells. ``subject``: its certificate's, or its IKE identity.
    ``identity``: the same for patterns: the subject in RFC 4514, or the IKE identity; empty if it showed none.
    ``fingerprint``: SHA-256 in hexadecimal, empty without a certificate. ``accepted``: the agent's decision, ``None``
    without one; ``denial``: why not; ``decided_at``: when a denied peer was last refused.
    ``bgp`` is ``None`` if the node runs no BGP with it. ``traffic`` and ``sa_events``: since the
    start, or since it came back after more than ten minutes; without an IKE_SA for so long there are no events.
    ``alert``: charon's last one about what it lacks, by its kind; ``alerted_at``: when charon raised it.
    """

    name: str
    key: str
    stage: Stage
    why: str
    expected: Expectation
    interface: str
    kind: PeerKind | None = None
    nbma_address: Address | None = None
    bindings: tuple[Binding, ...] = ()
    subject: str = ""
    identity: str = ""
    fingerprint: str = ""
    not_after: datetime | None = None
    as_number: int | None = None
    prefixes: tuple[Network, ...] = ()
    quarantined: bool = False
    accepted: bool | None = None
    denial: Deny | None = None
    decided_at: datetime | None = None
    ike_sas: tuple[IkeSa, ...] = ()
    bgp: BgpState | None = None
    shortcuts: tuple[Network, ...] = ()
    traffic: Traffic = NO_TRAFFIC
    sa_events: Mapping[SaEventKind, int] = field(default_factory=dict)
    alert: str = ""
    alerted_at: datetime | None = None
    since: datetime | None = None
    track: Track = UNTRACKED

    @property
    def last_seen(self) -> datetime | None:
        """Return when it was last up; ``None`` if that was never, or before the agent knew it."""
        return self.track.last_seen

    @property
    def flaps(self) -> int:
        """Return how often it left ``up`` since the agent started."""
        return self.track.flaps

    @property
    def protocol_addresses(self) -> tuple[Address, ...]:
        """Return its protocol addresses, the one with the BGP neighbor first."""
        return tuple(binding.protocol_address for binding in self.bindings)

    @property
    def protocol_address(self) -> Address | None:
        """Return its first protocol address."""
        return self.bindings[0].protocol_address if self.bindings else None

    @property
    def up(self) -> bool:
        """Tell whether it has passed every stage."""
        return self.stage is Stage.UP

    @property
    def nat(self) -> bool:
        """Tell whether a NAT is between this node and the peer."""
        return any(sa.nat_remote or sa.nat_local for sa in self.ike_sas)
