"""What the agent's parts know of spokes, for tests of the joined view."""

from ipaddress import ip_address
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.admission.denial import Denial
from dmvpn_agent.bgp.sessions import Session
from dmvpn_agent.charon.last_alerts import LastAlert
from dmvpn_agent.charon.sa import ChildSa, IkeSa
from dmvpn_agent.policy.decision import Accept, Deny
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.view.join import join
from dmvpn_agent.view.peer import JoinedPeer
from dmvpn_agent.view.sources import BgpView, KnownPeer, Member, PeerSa, Sources
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.track import Track
from factories import NOW, YEAR, decide, spoke_request

DENY = Deny(Reason.CERTIFICATE_EXPIRED, "notAfter", "2020", "a later time")


def member(number: int, *, bound: bool = True, request: BindingRequest | None = None) -> Member:
    """Return the accepted spoke of a number."""
    request = request or spoke_request(number)
    decision = decide(request)
    assert isinstance(decision, Accept)
    assert decision.peer is not None
    return Member(request, decision.peer, None if bound else NOW)


def denial(number: int) -> Denial:
    """Return the denied spoke of a number."""
    return Denial(spoke_request(number), DENY, NOW)


def sa(number: int, *, child: str = "INSTALLED", state: str = "ESTABLISHED", **changes: Any) -> PeerSa:
    """Return the IKE_SA of the spoke of a number; without CHILD_SA if ``child`` is empty."""
    request = spoke_request(number)
    fields: dict[str, Any] = {
        "unique_id": number,
        "name": "dmvpn",
        "state": state,
        "local_host": ip_address("203.0.113.250"),
        "remote_host": request.nbma_address,
        "remote_port": 500,
        "local_id": "CN=hub",
        "remote_id": identity(number),
        "initiator_spi": f"{number:x}",
        "responder_spi": "0",
        "children": (ChildSa(number, "dmvpn", child),) if child else (),
        **changes,
    }
    return PeerSa(IkeSa(**fields))


def identity(number: int) -> str:
    """Return the IKE identity of the spoke of a number: its certificate's subject as charon prints it."""
    certificate = spoke_request(number).certificate
    assert certificate is not None
    return certificate.identities[0]  # type: ignore[union-attr]


def bgp(members: tuple[Member, ...], **states: Any) -> BgpView:
    """Return sessions with these members, Established with one prefix; a state or a session by ``spokeN`` differs."""
    sessions: dict[Address, Session] = {}
    neighbors: dict[Address, Peer] = {}
    for one in members:
        address = one.peer.protocol_address
        neighbors[address] = one.peer
        session = states.get(str(one.peer.label), Session("Established", 1))
        if session is not None:
            sessions[address] = session if isinstance(session, Session) else Session(session, 0)
    return BgpView(sessions, neighbors)


def sources(*numbers: int, **changes: Any) -> Sources:
    """Return the sources of a hub with these spokes, all of them up; ``changes`` replace fields."""
    members = tuple(member(number) for number in numbers)
    fields: dict[str, Any] = {
        "now": NOW,
        "tunnels": {"gre1": "dmvpn"},
        "members": members,
        "sas": tuple(sa(number) for number in numbers),
        "cache": tuple(one.request for one in members),
        **changes,
    }
    fields.setdefault("bgp", bgp(fields["members"]))
    return Sources(**fields)


def joined(found: Sources) -> dict[str, JoinedPeer]:
    """Return the joined peers by name."""
    return {peer.name: peer for peer in join(found)}


def nbma(number: int) -> Address:
    """Where a spoke connects from."""
    return spoke_request(number).nbma_address


def known_peer(number: int, **changes: object) -> KnownPeer:
    """A spoke that was up."""
    one = member(number).peer
    fields = {
        "key": f"{one.identity}@gre1", "name": f"spoke{number}", "interface": "gre1", "kind": PeerKind.SPOKE,
        "protocol_address": one.protocol_address, "nbma_address": one.nbma_address, "subject": one.subject,
        "not_after": NOW + YEAR, "track": Track(Stage.UP, NOW - YEAR, NOW - YEAR), **changes,
    }  # fmt: skip
    return KnownPeer(**fields)  # type: ignore[arg-type]


def alert(kind: str = "peer-auth-failed", **changes: object) -> LastAlert:
    """What charon reported last."""
    return LastAlert(**{"kind": kind, "remote_id": "", "at": NOW, **changes})  # type: ignore[arg-type]
