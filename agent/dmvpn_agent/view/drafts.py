"""Sorts what the sources know by peer: accepted and denied requests, IKE_SAs, known and expected peers."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial import Denial
from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.policy.request import BindingRequest, is_sa_of
from dmvpn_agent.view.settings import ExpectedPeer
from dmvpn_agent.view.sources import KnownPeer, Member, PeerSa, Sources
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.peer_label import identity_label

#: Stands in the key of an expected peer of which nothing else is known.
_EXPECTED = "expected:"


@dataclass(slots=True)
class Draft:
    """What belongs to one peer: one identity on one interface."""

    key: str
    interface: str
    members: list[Member] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    sas: list[IkeSa] = field(default_factory=list)
    certificate: Certificate | None = None
    known: KnownPeer | None = None
    configured: ExpectedPeer | None = None

    @property
    def requests(self) -> Iterator[BindingRequest]:
        """Yield its accepted requests, then its denied ones."""
        yield from (member.request for member in self.members)
        yield from (denial.request for denial in self.denials)

    @property
    def label(self) -> str:
        """Return the label that its certificate, or the identity that it proved, gives it; empty without one."""
        for member in self.members:
            if member.peer.label:
                return str(member.peer.label)
        named = self.certificate.label if self.certificate else None
        if named is None and self.identities:
            named = identity_label(min(self.identities))
        return str(named or "")

    @property
    def identities(self) -> frozenset[str]:
        """Return the names that it proved: of its certificate, of its IKE_SAs, of its requests."""
        names = {sa.remote_id for sa in self.sas if sa.established}
        if self.certificate:
            names |= {self.certificate.subject_rfc4514, self.certificate.subject, *self.certificate.identities}
        for request in self.requests:
            if request.certificate is None:
                names |= {one.identity for one in request.ike_peers or ()}
        return frozenset(names - {""})

    @property
    def nbma_address(self) -> Address | None:
        """Return the first of ``nbma_addresses``."""
        for request in self.requests:
            return request.nbma_address
        if self.sas:
            return self.sas[0].remote_host
        return self.known.nbma_address if self.known else None

    @property
    def nbma_addresses(self) -> tuple[Address, ...]:
        """Return where it is, or was last: its accepted bindings first."""
        found = [request.nbma_address for request in self.requests] + [sa.remote_host for sa in self.sas]
        return tuple(dict.fromkeys([*found, *([self.known.nbma_address] if self.known else [])]))

    @property
    def protocol_addresses(self) -> tuple[Address, ...]:
        """Return its protocol addresses: those accepted, else those denied, else the one that it had, or should."""
        found = [member.peer.protocol_address for member in self.members]
        found = found or [denial.request.protocol_address for denial in self.denials]
        if not found and self.known:
            found = [self.known.protocol_address]
        if not found and self.configured and self.configured.protocol_address:
            found = [self.configured.protocol_address]
        return tuple(dict.fromkeys(found))


def drafts(sources: Sources) -> list[Draft]:
    """Return the peers that any source knows."""
    return list(_Sorter(sources).sorted().values())


def request_identity(request: BindingRequest) -> str:
    """Return the identity of the peer that asked, as in ``Peer.identity``."""
    if isinstance(request.certificate, Certificate):
        return request.certificate.identity or f"fingerprint:{request.certificate.fingerprint}"
    ike_peer = min((one.identity for one in request.ike_peers or ()), default="")
    return f"ike:{ike_peer}" if ike_peer else f"address:{request.protocol_address}@{request.nbma_address}"


class _Sorter:
    """Fills the drafts, the surest sources first; each later one joins the drafts that it belongs to."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._drafts: dict[str, Draft] = {}
        self._at: defaultdict[tuple[str, Address], list[Draft]] = defaultdict(list)
        self._named: dict[tuple[str, str], Draft] = {}

    def sorted(self) -> dict[str, Draft]:
        for member in self._sources.members:
            draft = self._draft(member.peer.identity or request_identity(member.request), member.peer.interface)
            draft.members.append(member)
            self._add_request(draft, member.request)
        for denial in self._sources.denials:
            draft = self._draft(request_identity(denial.request), denial.request.interface)
            draft.denials.append(denial)
            self._add_request(draft, denial.request)
        self._add_known()
        self._add_sas(self._sources.sas or ())
        self._add_expected()
        return self._drafts

    def _draft(self, identity: str, interface: str) -> Draft:
        key = f"{identity}@{interface}"
        return self._drafts.setdefault(key, Draft(key, interface))

    def _add_request(self, draft: Draft, request: BindingRequest) -> None:
        certificate = request.certificate
        if isinstance(certificate, Certificate):
            draft.certificate = draft.certificate or certificate
            names: Iterable[str] = certificate.identities
        else:
            names = [one.identity for one in request.ike_peers or ()]
        for name in names:
            self._named.setdefault((draft.interface, name), draft)
        if draft not in (there := self._at[draft.interface, request.nbma_address]):
            there.append(draft)

    def _add_known(self) -> None:
        for known in self._sources.known:
            if known.interface in self._sources.tunnels:
                draft = self._drafts.setdefault(known.key, Draft(known.key, known.interface))
                draft.known = known
                self._named.setdefault((known.interface, known.subject), draft)

    def _add_sas(self, sas: tuple[PeerSa, ...]) -> None:
        interfaces: defaultdict[str, list[str]] = defaultdict(list)
        for interface, profile in self._sources.tunnels.items():
            interfaces[profile].append(interface)
        present: defaultdict[tuple[str, Address], list[IkeSa]] = defaultdict(list)
        for one in sas:
            present[one.sa.name, one.sa.remote_host].append(one.sa)
        for one in sas:
            for interface in interfaces.get(one.sa.name, ()):
                draft = self._owner(one, interface, tuple(present[one.sa.name, one.sa.remote_host]))
                if draft is not None:
                    draft.sas.append(one.sa)
                    draft.certificate = draft.certificate or one.certificate

    def _owner(self, one: PeerSa, interface: str, present: tuple[IkeSa, ...]) -> Draft | None:
        """Return the peer of an IKE_SA, a new one if no other source knows it; ``None`` if it cannot be told."""
        sa = one.sa
        there = self._at.get((interface, sa.remote_host), [])
        if not sa.established:  # its identity is a claim
            return there[0] if len(there) == 1 else None
        if one.certificate and (key := f"{one.certificate.identity}@{interface}") in self._drafts:
            return self._drafts[key]
        for draft in there:
            if any(is_sa_of(sa, request, present) for request in draft.requests):
                return draft
        if (named := self._named.get((interface, sa.remote_id))) is not None:
            return named
        if self._is_of_other_interface(sa, interface):
            return None
        return self._draft(one.certificate.identity if one.certificate else f"ike:{sa.remote_id}", interface)

    def _is_of_other_interface(self, sa: IkeSa, interface: str) -> bool:
        """Tell whether an IKE_SA without a request here belongs to another interface with the same profile."""
        sharing = [name for name, profile in self._sources.tunnels.items() if profile == sa.name]
        return interface != sharing[0] or any(self._at.get((name, sa.remote_host)) for name in sharing[1:])

    def _add_expected(self) -> None:
        for wanted in self._sources.expected:
            found = [
                draft for draft in self._drafts.values() if draft.configured is None and _is_expected(draft, wanted)
            ]
            for draft in sorted(found, key=lambda draft: not draft.members)[:1]:
                draft.configured = wanted
            if not found:
                interface = next(iter(self._sources.tunnels), "")
                draft = self._draft(f"{_EXPECTED}{wanted.name}", interface)
                draft.configured = wanted


def _is_expected(draft: Draft, wanted: ExpectedPeer) -> bool:
    """Tell whether a peer is the expected one; a request for its address by another identity is not."""
    names = draft.identities | ({draft.known.subject} if draft.known else frozenset())
    if wanted.identity:
        return any(fnmatchcase(name, wanted.identity) for name in names)
    if wanted.protocol_address:
        return wanted.protocol_address in draft.protocol_addresses
    return (draft.label or (draft.known.name if draft.known else "")) == wanted.name
