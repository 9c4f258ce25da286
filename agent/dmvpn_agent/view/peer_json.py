"""A joined peer as JSON values: the documents ``peers`` and ``peer`` (docs/json.md)."""

from datetime import datetime
from typing import Any

from dmvpn_agent.charon.sa import IkeSa
from dmvpn_agent.view.peer import Binding, JoinedPeer
from dmvpn_agent.view.sa_json import ike_sa_json, time_json


def peer_summary(peer: JoinedPeer, now: datetime) -> dict[str, Any]:
    """Return a peer without its SAs."""
    return {
        "name": peer.name,
        "stage": str(peer.stage),
        "why": peer.why,
        "since": time_json(peer.since),
        "last_seen": time_json(peer.last_seen),
        "flaps": peer.flaps,
        "expected": str(peer.expected),
        "interface": peer.interface,
        "kind": str(peer.kind) if peer.kind else None,
        "protocol_addresses": [str(address) for address in peer.protocol_addresses],
        "nbma_address": str(peer.nbma_address) if peer.nbma_address else None,
        "nat": peer.nat,
        "subject": peer.subject,
        "fingerprint": peer.fingerprint or None,
        "certificate_expires": time_json(peer.not_after),
        "certificate_days_left": (peer.not_after - now).days if peer.not_after else None,
        "accepted": peer.accepted,
        "denial": peer.denial.as_json() if peer.denial else None,
        "decided_at": time_json(peer.decided_at),
        "quarantined": peer.quarantined,
        "as_number": peer.as_number,
        "prefixes": [str(prefix) for prefix in peer.prefixes],
        "ike": _ike(peer.ike_sas),
        "bindings": [_binding(binding) for binding in peer.bindings],
        "bgp": _bgp(peer),
        "shortcuts": [str(network) for network in peer.shortcuts],
        "traffic": peer.traffic._asdict(),
        "alert": peer.alert or None,
        "alerted_at": time_json(peer.alerted_at),
    }


def peer_details(peer: JoinedPeer, now: datetime) -> dict[str, Any]:
    """Return a peer with its SAs."""
    return {**peer_summary(peer, now), "ike_sas": [ike_sa_json(sa) for sa in peer.ike_sas]}


def _ike(sas: tuple[IkeSa, ...]) -> dict[str, Any] | None:
    """Return the newest established IKE_SA, or the newest one, in short."""
    if not sas:
        return None
    sa = max(sas, key=lambda one: (one.established, one.unique_id))
    children = [child for child in sa.children if child.installed]
    return {
        "state": sa.state,
        "established_at": time_json(sa.established_at),
        "algorithms": str(sa.algorithms),
        "children": len(children),
        "child_algorithms": str(children[-1].algorithms) if children else None,
    }


def _binding(binding: Binding) -> dict[str, Any]:
    return {
        "protocol_address": str(binding.protocol_address),
        "nbma_address": str(binding.nbma_address),
        "type": binding.type or None,
        "absent_since": time_json(binding.absent_since),
    }


def _bgp(peer: JoinedPeer) -> dict[str, Any] | None:
    if (bgp := peer.bgp) is None:
        return None
    return {
        "neighbor": str(bgp.neighbor),
        "state": bgp.state,
        "accepted": bgp.accepted,
        "filtered": bgp.filtered,
        "allowed": [str(network) for network in bgp.allowed],
        "over_limit": bgp.over_limit,
        "drops_prefixes_of": [str(other) for other in bgp.drops_prefixes_of],
    }
