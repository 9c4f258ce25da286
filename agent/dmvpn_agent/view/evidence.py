"""What is known of one peer about each stage, and in words what keeps it from the next one."""

from collections.abc import Mapping, Set

from dmvpn_agent.addresses import Address
from dmvpn_agent.charon.last_alerts import LastAlert
from dmvpn_agent.policy.peer import Peer
from dmvpn_agent.view.alerts_text import TEXTS
from dmvpn_agent.view.drafts import Draft
from dmvpn_agent.view.peer import BgpState
from dmvpn_agent.view.sources import Sources
from dmvpn_agent.view.stage import NO_NEIGHBOR, SESSION_UNKNOWN, Evidence, Stage


def bgp_state(peer: Peer | None, sources: Sources) -> BgpState | None:
    """Return the session with an accepted peer; ``None`` if the node runs no BGP with it."""
    if peer is None or sources.bgp is None or (binding := sources.bgp.neighbors.get(peer.protocol_address)) is None:
        return None
    session = (sources.bgp.sessions or {}).get(binding.protocol_address)
    absent = SESSION_UNKNOWN if sources.bgp.sessions is None else NO_NEIGHBOR
    return BgpState(
        neighbor=binding.protocol_address,
        state=session.state if session else absent,
        accepted=session.prefixes + (session.prefixes_ipv6 or 0) if session else 0,
        accepted_ipv6=session.prefixes_ipv6 if session else None,
        filtered=session.filtered if session else None,
        since=session.since if session else None,
        drops=session.drops if session else 0,
        allowed=tuple(network for network, _ in binding.announces),
        over_limit=session is not None and session.over_limit,
        drops_prefixes_of=tuple(sources.bgp.drops.get(binding.protocol_address, ())),
    )


def evidence_of(draft: Draft, bgp: BgpState | None, alert: LastAlert | None, sources: Sources) -> Evidence:
    """Return what is known about each stage of a peer."""
    charon, established = sources.sas is not None, [sa for sa in draft.sas if sa.established]
    denied_at = None if draft.members or not draft.denials else draft.denials[-1].at
    failed = alert is not None and alert.is_authentication and not (denied_at and denied_at > alert.at)
    reads_bgp = sources.bgp is not None and sources.bgp.sessions is not None
    return Evidence(
        ike=bool(established) if charon else None,
        authentication_failed=failed,
        child=any(child.installed for sa in established for child in sa.children) if charon else None,
        bound=_bound(draft, sources),
        denied=bool(draft.denials) and not draft.members,
        bgp=True if bgp is None else bgp.established if reads_bgp else None,
        accepted=True if bgp is None else _accepted(bgp) if reads_bgp else None,
        filtered=None if bgp is None or bgp.filtered is None else bgp.filtered > 0,
    )


def _bound(draft: Draft, sources: Sources) -> bool | None:
    if sources.cache is None:
        return None
    return any(member.absent_since is None for member in draft.members)


def _accepted(bgp: BgpState) -> bool:
    exchanged = {4} if bgp.accepted_ipv6 is None else {4, 6}
    return bgp.accepted > 0 or not any(network.version in exchanged for network in bgp.allowed)


def alert_of(
    draft: Draft, alerts: dict[Address | str, LastAlert], owners: Mapping[str, Set[str]]
) -> LastAlert | None:
    """Return charon's last alert about what a peer lacks: by its address, or by the identity that it claimed.

    A claim proves nothing; it only explains an absence. ``owners``: the keys of the peers whose identity an alert
    claims. Of two peers behind one address, each has only its own; a peer with two tunnels has it on
    both.
    """
    if not alerts:
        return None
    named = [draft.configured.name] if draft.configured else []
    keys = [*draft.nbma_addresses, *draft.identities, *([draft.known.subject] if draft.known else []), *named]
    has_ike = any(sa.established for sa in draft.sas)
    found = (alerts[key] for key in keys if key in alerts)
    fitting = [
        one for one in found if one.is_of_child is has_ike and draft.key in owners.get(one.remote_id, {draft.key})
    ]
    return max(fitting, key=lambda alert: alert.at, default=None)


def quarantine(draft: Draft, sources: Sources) -> str:
    """Return what a peer's quarantine means now, in words; empty if it is in none."""
    quarantined = [member.peer.protocol_address for member in draft.members if member.peer.quarantined]
    if not quarantined:
        return ""
    sessions = (sources.bgp.sessions if sources.bgp else None) or {}
    if any(address in sessions for address in quarantined):
        return "in quarantine, and bgpd STILL HAS its neighbor: `dmvpn-agent status` says why"
    return "in quarantine: no BGP neighbor until `dmvpn-agent release`"


def why(stage: Stage, draft: Draft, bgp: BgpState | None, alert: LastAlert | None, evidence: Evidence) -> str:
    """Return what keeps a peer from the next stage, in words; empty if it is up."""
    match stage:
        case Stage.NO_IKE | Stage.AUTHENTICATION_FAILED | Stage.NO_CHILD_SA:
            # A narrow terminal cuts the end: the cause comes first.
            if alert:
                return f"{TEXTS[alert.kind].because}; charon reported {alert.kind}"
            if stage is Stage.NO_CHILD_SA:
                return "its IKE_SA has no installed CHILD_SA"
            return "an IKE_SA with it is being set up" if draft.sas else "it has no IKE_SA"
        case Stage.NOT_REGISTERED:
            return "nhrpd has no binding for it"
        case Stage.DENIED:
            return str(draft.denials[-1].why)
        case Stage.NO_BGP | Stage.NOTHING_ANNOUNCED | Stage.FILTERED:
            return _why_bgp(stage, bgp)
        case Stage.UNKNOWN:
            return f"{', '.join(_unread(evidence))} cannot be read"
        case Stage.UP:
            return ""


def _why_bgp(stage: Stage, bgp: BgpState | None) -> str:
    if bgp is None:
        return ""
    if stage is Stage.FILTERED:
        return "its filter refused everything that it announced"
    if stage is Stage.NOTHING_ANNOUNCED:
        return "its BGP session is up and has accepted no prefix"
    if bgp.state == NO_NEIGHBOR:
        return f"bgpd has no neighbor {bgp.neighbor}"
    exceeded = "it sent more prefixes than bgp.maximum_prefixes allows: " if bgp.over_limit else ""
    return f"{exceeded}the BGP session with {bgp.neighbor} is {bgp.state}"


def _unread(evidence: Evidence) -> list[str]:
    daemons = {"charon": evidence.ike, "nhrpd": evidence.bound, "bgpd": evidence.bgp}
    return [name for name, found in daemons.items() if found is None]
