"""The state of the agent as JSON values, for ``dmvpn-agent status``."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dmvpn_agent.admission.authorizer import Authorizer
from dmvpn_agent.admission.decision_record import DecisionRecord, describe
from dmvpn_agent.admission.denial_table import DenialTable
from dmvpn_agent.admission.peer_index import Membership
from dmvpn_agent.admission.peers import Peers
from dmvpn_agent.bgp.change_text import describe as describe_change
from dmvpn_agent.bgp.reconciler import Reconciler
from dmvpn_agent.charon.watch import CharonWatch
from dmvpn_agent.crls.fetcher import CrlFetcher
from dmvpn_agent.kernel.iptables.rules_in_force import RulesInForce
from dmvpn_agent.kernel.links.changes import commands
from dmvpn_agent.kernel.links.reconciler import LinkReconciler
from dmvpn_agent.kernel.nftables import multicast_rule, redirect_rule
from dmvpn_agent.kernel.nftables.gre_guard import COUNTERS
from dmvpn_agent.kernel.nftables.guard_watch import GuardWatch
from dmvpn_agent.kernel.nftables.reconciler import TableReconciler
from dmvpn_agent.kernel.nftables.section import SectionName
from dmvpn_agent.kernel.nftables.source_filter import RECEIVED, SPOOFED, UNKNOWN_COUNTER
from dmvpn_agent.renewal.settings import RenewalSettings
from dmvpn_agent.renewal.state import read_state
from dmvpn_agent.runtime.clocks import Clocks
from dmvpn_agent.view.sa_json import ike_sa_json, time_json
from dmvpn_agent.x509.trust_watch import TrustWatch


def peers_status(peers: Peers, reconciler: Reconciler | None, clocks: Clocks) -> list[dict[str, Any]]:
    """Return each accepted peer, with its BGP session if it has one.

    ``neighbor``: the address of its BGP neighbor; a peer with several protocol addresses has one neighbor.
    ``drops_prefixes_of``: the peers whose prefixes it receives and drops, because they have its own AS number.
    """
    sessions = reconciler.snapshot.sessions if reconciler and reconciler.snapshot else {}
    neighbors = reconciler.neighbor_bindings() if reconciler else {}
    drops = reconciler.drops_prefixes_of() if reconciler else {}
    result = []
    for member in peers.memberships():
        address = member.peer.protocol_address
        session = sessions.get(address)
        bgp = session and {
            "state": session.state,
            "prefixes_received": session.prefixes,
            "dynamic": session.dynamic,
            "drops_prefixes_of": [str(other) for other in drops.get(address, ())],
        }
        binding = neighbors.get(address)
        neighbor = str(binding.protocol_address) if binding else None
        result.append(_peer(member, clocks) | {"bgp": bgp, "neighbor": neighbor})
    return result


def _peer(member: Membership, clocks: Clocks) -> dict[str, Any]:
    peer = member.peer
    return {
        "protocol_address": str(peer.protocol_address),
        "label": str(peer.label) if peer.label else None,
        "nbma_address": str(peer.nbma_address),
        "interface": peer.interface,
        "kind": str(peer.kind),
        "quarantined": peer.quarantined,
        "as_number": peer.as_number,
        "prefixes": [str(prefix) for prefix in peer.prefixes],
        "subject": peer.subject,
        "fingerprint": peer.fingerprint,
        "certificate_expires": time_json(peer.not_after),
        "bound": member.absent_since is None,
        "absent_since": None if member.absent_since is None else time_json(clocks.when(member.absent_since)),
    }


def trust_status(watch: TrustWatch, denied: DenialTable, fetcher: CrlFetcher | None, now: datetime) -> dict[str, Any]:
    """Return the CAs and CRLs in force, the problems with files and fetches, and the number of denied peers."""
    return {
        "authorities": [authority.subject for authority in watch.trust.authorities],
        "crls": [
            {
                "issuer": crl.issuer,
                "number": crl.number,
                "this_update": time_json(crl.this_update),
                "next_update": time_json(crl.next_update),
                "revoked": len(crl.serials),
                "outdated": crl.next_update is not None and crl.next_update < now,
            }
            for crl in watch.trust.crls
        ],
        "problems": list(watch.problems),
        "fetches": [
            {"url": one.url, "succeeded": time_json(one.succeeded_at), "trouble": one.trouble}
            for one in (fetcher.reports() if fetcher else ())
        ],
        "denied_peers": len(denied),
    }


def renewal_status(settings: RenewalSettings) -> dict[str, Any] | None:
    """Return how the renewal of this node's certificate goes; ``None`` if it is not renewed."""
    if settings.server is None:
        return None
    state = read_state(settings.state)
    return {
        "due": time_json(state.due),
        "not_after": time_json(state.not_after),
        "succeeded": time_json(state.succeeded),
        "failures": state.failures,
        "trouble": state.trouble,
    }


def decisions_status(authorizer: Authorizer) -> list[dict[str, Any]]:
    """Return the latest decisions, oldest first."""
    return [_decision(judgement) for judgement in authorizer.records]


def _decision(judgement: DecisionRecord) -> dict[str, Any]:
    return {"time": judgement.time.isoformat(timespec="milliseconds"), **describe(judgement)}


def charon_status(watch: CharonWatch, now: datetime) -> dict[str, Any]:
    """Return charon's connection, IKE_SAs, this node's certificates, and the traffic of all since the start."""
    return {
        "connected": watch.connected,
        "patched": watch.patched,
        "own_certificates": [
            {
                "subject": one.subject,
                "expires": one.not_after.isoformat(timespec="seconds"),
                "days_left": (one.not_after - now).days,
            }
            for one in watch.own_certificates.known
        ],
        "ike_sas": [ike_sa_json(sa) for sa in watch.ike_sas],
        "traffic": watch.totals.all_traffic._asdict(),
    }


def frr_status(reconciler: Reconciler | None) -> dict[str, Any] | None:
    """Return how FRR differs from the desired state; ``None`` if the agent does not manage BGP."""
    if reconciler is None:
        return None
    return {
        "in_sync": not (reconciler.pending or reconciler.stale_neighbors or reconciler.trouble)
        and bool(reconciler.last_sync),
        "last_sync": time_json(reconciler.last_sync),
        "pending_changes": [describe_change(change) for change in reconciler.pending],
        "foreign_neighbors": [str(address) for address in reconciler.operator_neighbors],
        "orphan_neighbors": [str(address) for address in reconciler.stale_neighbors],
        "problems": [
            {
                "kind": str(problem.kind),
                "found": problem.found,
                "do": problem.do,
                "blocks": [str(address) for address in sorted(problem.blocks, key=str)],
            }
            for problem in reconciler.problems
        ],
        "trouble": reconciler.trouble,
    }


def access_status(readers: Mapping[str, str], writer: str, reconciler: Reconciler | None) -> dict[str, Any]:
    """Return how each of FRR's daemons was last read, and how the agent writes to bgpd: ``vtysh`` or ``vty``."""
    return {"read_by": dict(readers), "written_by": writer if reconciler else None}


def source_filter_status(table: TableReconciler) -> dict[str, Any] | None:
    """Return the mode of the source filter and what it counted, of peers and of nobody's; ``None`` if it is off."""
    settings = table.settings.source_filter
    if settings is None:
        return None
    received, spoofed = table.peer_totals.of(RECEIVED), table.peer_totals.of(SPOOFED)
    return {
        "mode": str(settings.mode),
        "installed": table.has(SectionName.SOURCE_FILTER),
        "unknown_sender_packets": table.totals.total(UNKNOWN_COUNTER).packets,
        "peers": [
            {
                "protocol_address": str(peer),
                "packets": received[peer].packets if peer in received else 0,
                "bytes": received[peer].bytes if peer in received else 0,
                "spoofed_packets": spoofed[peer].packets if peer in spoofed else 0,
            }
            for peer in dict.fromkeys((*received, *spoofed))
        ],
    }


def gre_guard_status(guard: GuardWatch, table: TableReconciler) -> dict[str, Any] | None:
    """Return the mode of the GRE guard and what it counted; ``None`` if it is off."""
    settings = guard.settings.guard
    if settings is None:
        return None
    return {
        "mode": str(settings.mode),
        "installed": table.has(SectionName.GUARD) and not guard.refusal,
        "refusal": guard.refusal,
        "clear_packets": {way: table.totals.total(name).packets for way, name in COUNTERS.items()},
    }


def redirect_status(rules: RulesInForce) -> dict[str, Any] | None:
    """Return whether the redirect rule is installed; ``None`` if the agent does not keep one."""
    if rules.redirect is None:
        return None
    return {"installed": rules.redirect, "packets": rules.packets(redirect_rule.COUNTER)}


def multicast_status(rules: RulesInForce) -> dict[str, Any] | None:
    """Return whether the multicast rule is installed; ``None`` if the agent does not keep one."""
    if rules.multicast is None:
        return None
    return {"installed": rules.multicast, "packets": rules.packets(multicast_rule.COUNTER)}


def tunnels_status(links: LinkReconciler) -> dict[str, Any]:
    """Return what differs at each tunnel interface of ``[tunnel.NAME]``, as commands, and why."""
    problems = [{"interface": one.interface, "kind": str(one.kind), "found": one.found, "do": one.do}
                for one in links.problems]  # fmt: skip
    left = {name: [line for change in changes for line in commands(change)] for name, changes in links.left.items()}
    return {"left": left, "problems": problems}
