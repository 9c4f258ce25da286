"""What the parts of the agent know of peers, each as it was last read: the input of the joined view."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.admission.denial import Denial
from dmvpn_agent.bgp.sessions import Session
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.last_alerts import LastAlert
from dmvpn_agent.charon.sa import IkeSa, Traffic
from dmvpn_agent.charon.sa_totals import SaOwner
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.view.settings import ExpectedPeer
from dmvpn_agent.view.track import Track
from dmvpn_agent.x509.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Member:
    """An accepted peer with its request; ``absent_since``: when nhrpd's cache first lacked it."""

    request: BindingRequest
    peer: Peer
    absent_since: datetime | None


@dataclass(frozen=True, slots=True)
class PeerSa:
    """An IKE_SA with the certificate that its peer proved, if it is known."""

    sa: IkeSa
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class BgpView:
    """The sessions that the agent keeps.

    ``sessions``: by neighbor, ``None`` if bgpd cannot be read. ``neighbors``: the binding that has a peer's neighbor,
    by each of the peer's protocol addresses; a peer that is missing runs no BGP with this node. ``drops``: by
    neighbor, the neighbors whose prefixes it drops.
    """

    sessions: Mapping[Address, Session] | None
    neighbors: Mapping[Address, Peer]
    drops: Mapping[Address, tuple[Address, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A peer that was accepted before. ``nbma_address``: where it was last."""

    key: str
    name: str
    interface: str
    kind: PeerKind
    protocol_address: Address
    nbma_address: Address
    subject: str
    not_after: datetime | None
    track: Track


@dataclass(frozen=True, slots=True)
class Sources:
    """``None`` stands for a daemon that cannot be read now: ``sas`` for charon, ``cache`` for nhrpd.

    ``tunnels``: the profile of each tunnel interface. ``bgp`` is ``None`` if the agent runs no BGP. ``traffic`` and
    ``sa_events``: by connection and IKE identity. ``alerts``: by NBMA address. ``shortcuts``: by the protocol address
    of the peer that they lead to. ``learn``: accepted peers become known. ``names`` and ``tracks``: of the peers as
    they were last joined, by key.
    """

    now: datetime
    tunnels: Mapping[str, str]
    members: tuple[Member, ...] = ()
    denials: tuple[Denial, ...] = ()
    sas: tuple[PeerSa, ...] | None = ()
    cache: tuple[BindingRequest, ...] | None = ()
    bgp: BgpView | None = None
    alerts: Mapping[Address, LastAlert] = field(default_factory=dict)
    traffic: Mapping[SaOwner, Traffic] = field(default_factory=dict)
    sa_events: Mapping[SaOwner, Mapping[SaEventKind, int]] = field(default_factory=dict)
    shortcuts: Mapping[Address, tuple[Network, ...]] = field(default_factory=dict)
    known: tuple[KnownPeer, ...] = ()
    expected: tuple[ExpectedPeer, ...] = ()
    learn: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    tracks: Mapping[str, Track] = field(default_factory=dict)
