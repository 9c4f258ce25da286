"""Joins what the sources know into one value for each peer, with the stage that it has reached."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.charon.events import SaEventKind
from dmvpn_agent.charon.last_alerts import LastAlert
from dmvpn_agent.charon.sa import NO_TRAFFIC, Traffic
from dmvpn_agent.charon.sa_totals import SaOwner
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.view.drafts import Draft, drafts
from dmvpn_agent.view.evidence import alert_of, bgp_state, evidence_of, quarantine, why
from dmvpn_agent.view.peer import Binding, Expectation, JoinedPeer
from dmvpn_agent.view.peer_names import peer_names
from dmvpn_agent.view.sources import Member, Sources
from dmvpn_agent.view.stage import stage_of
from dmvpn_agent.view.track import UNTRACKED
from dmvpn_agent.x509.peer_label import identity_label


def join(sources: Sources) -> tuple[JoinedPeer, ...]:
    """Return every peer that is there, was denied, or is expected, ordered by name."""
    found = drafts(sources)
    names = peer_names(found, sources.names)
    shared = _Shared.of(sources, found)
    return tuple(sorted((_joined(names[one.key], one, shared) for one in found), key=lambda peer: peer.name))


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the values of all peers need.

    ``types``: of nhrpd's bindings. ``alerts``: by address, by claimed identity, and by its label. ``owners``: the
    keys of the peers whose identity an alert claims.
    """

    sources: Sources
    types: dict[tuple[str, Address], str]
    alerts: dict[Address | str, LastAlert]
    owners: dict[str, set[str]]

    @classmethod
    def of(cls, sources: Sources, found: Sequence[Draft]) -> "_Shared":
        alerts: dict[Address | str, LastAlert] = dict(sources.alerts.items())
        claimed = [one for one in sources.alerts.values() if one.remote_id not in {"", "%any"}]
        alerts |= {label: one for one in claimed if (label := str(identity_label(one.remote_id) or ""))}
        alerts |= {one.remote_id: one for one in claimed}
        return cls(
            sources,
            {(one.interface, one.protocol_address): str(one.binding_type) for one in sources.cache or ()},
            alerts,
            _claimed(found, frozenset(one.remote_id for one in claimed)),
        )


def _claimed(found: Sequence[Draft], identities: frozenset[str]) -> dict[str, set[str]]:
    """Return the keys of the peers that have these identities; one with two tunnels has two."""
    owners: dict[str, set[str]] = {}
    for draft in found if identities else ():
        names = draft.identities | ({draft.known.subject} if draft.known else frozenset())
        for name in names & identities:
            owners.setdefault(name, set()).add(draft.key)
    return owners


def _joined(name: str, draft: Draft, shared: _Shared) -> JoinedPeer:
    sources = shared.sources
    if len(draft.members) > 1:
        draft.members.sort(key=lambda member: _precedence(member, sources))
    best = draft.members[0].peer if draft.members else None
    denial = draft.denials[-1] if draft.denials and not best else None
    bgp, alert = bgp_state(best, sources), alert_of(draft, shared.alerts, shared.owners)
    owners = _sa_owners(draft, sources)
    evidence = evidence_of(draft, bgp, alert, sources)
    stage = stage_of(evidence)
    known, certificate = draft.known, draft.certificate
    track = (sources.tracks.get(draft.key) or (known.track if known else UNTRACKED)).after(stage, sources.now)
    return JoinedPeer(
        name=name,
        key=draft.key,
        stage=stage,
        why=why(stage, draft, bgp, alert, evidence) or quarantine(draft, sources),
        expected=_expectation(draft, learn=sources.learn),
        interface=draft.interface,
        kind=best.kind if best else known.kind if known else None,
        nbma_address=draft.nbma_address,
        bindings=_bindings(draft, shared),
        subject=best.subject if best else _subject(draft),
        identity=_identity(draft),
        fingerprint=best.fingerprint if best else certificate.fingerprint if certificate else "",
        not_after=best.not_after if best else _not_after(draft),
        as_number=best.as_number if best else None,
        prefixes=best.prefixes if best else (),
        quarantined=best is not None and best.quarantined,
        accepted=best is not None if best or denial else None,
        denial=denial.why if denial else None,
        decided_at=denial.at if denial else None,
        ike_sas=tuple(draft.sas),
        bgp=bgp,
        shortcuts=_shortcuts(draft, sources),
        traffic=_traffic(owners, sources),
        sa_events=_sa_events(owners, sources),
        alert=alert.kind if alert and not evidence.child else "",
        alerted_at=alert.at if alert and not evidence.child else None,
        since=track.since if stage is track.stage else None,
        track=track,
    )


def _precedence(member: Member, sources: Sources) -> tuple[bool, int, int]:
    """Order a peer's bindings: the one with the BGP neighbor first, IPv4 before IPv6."""
    address = member.peer.protocol_address
    neighbor = sources.bgp.neighbors.get(address) if sources.bgp else None
    return neighbor is None or neighbor.protocol_address != address, address.version, int(address)


def _expectation(draft: Draft, *, learn: bool) -> Expectation:
    if draft.configured:
        return Expectation.CONFIGURED
    learned = draft.known or (learn and any(one.peer.kind is not PeerKind.SHORTCUT for one in draft.members))
    return Expectation.LEARNED if learned else Expectation.NO


def _subject(draft: Draft) -> str:
    if draft.certificate:
        return draft.certificate.subject
    return min(draft.identities, default=draft.known.subject if draft.known else "")


def _identity(draft: Draft) -> str:
    if draft.certificate:
        return draft.certificate.subject_rfc4514 or draft.certificate.subject
    return min(draft.identities, default="")


def _not_after(draft: Draft) -> datetime | None:
    if draft.certificate:
        return draft.certificate.not_after
    return draft.known.not_after if draft.known else None


def _bindings(draft: Draft, shared: _Shared) -> tuple[Binding, ...]:
    if draft.members:
        return tuple(
            Binding(
                one.peer.protocol_address,
                one.peer.nbma_address,
                shared.types.get((draft.interface, one.peer.protocol_address), ""),
                one.absent_since,
            )
            for one in draft.members
        )
    pairs = [denial.request.pair for denial in draft.denials]
    if not pairs and draft.known:
        pairs = [(draft.known.protocol_address, draft.known.nbma_address)]
    return tuple(Binding(protocol, nbma) for protocol, nbma in dict.fromkeys(pairs))


def _shortcuts(draft: Draft, sources: Sources) -> tuple[Network, ...]:
    if not sources.shortcuts:
        return ()
    return tuple(network for one in draft.protocol_addresses for network in sources.shortcuts.get(one, ()))


def _sa_owners(draft: Draft, sources: Sources) -> list[SaOwner]:
    """Return under which names charon's SAs of a peer are counted."""
    profile = sources.tunnels.get(draft.interface, "")
    names = draft.identities | ({draft.known.subject} if draft.known else frozenset())
    return [found for name in names if (found := (profile, name)) in sources.traffic]


def _traffic(owners: Sequence[SaOwner], sources: Sources) -> Traffic:
    if len(owners) == 1:
        return sources.traffic[owners[0]]
    return reduce(Traffic.plus, (sources.traffic[one] for one in owners), NO_TRAFFIC)


def _sa_events(owners: Sequence[SaOwner], sources: Sources) -> Mapping[SaEventKind, int]:
    if len(owners) == 1:
        return sources.sa_events.get(owners[0], {})
    counts: Counter[SaEventKind] = Counter()
    for one in owners:
        counts.update(sources.sa_events.get(one, {}))
    return counts
