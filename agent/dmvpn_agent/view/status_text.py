"""The state of the agent, for people."""

from typing import Any

from dmvpn_agent.view.table import table


def status_text(state: dict[str, Any]) -> str:
    """Return the agent's state: what is in force, the peers, the latest decisions."""
    frr, redirect = state["frr"], state["redirect"]
    parts = [
        f"{state['role']}, dmvpn-agent {state['version']}, running since {state['started']}"
        + (", as a DRY RUN: it changes nothing" if state["dry_run"] else ""),
        f"tunnel interfaces  {_tunnels(state['tunnel_interfaces'])}",
        f"nhrpd              {_nhrpd(state['nhrpd'])}",
        f"charon             {_charon(state['charon'])}",
        f"CAs and CRLs       {_trust(state['trust'])}",
        f"FRR                {_frr(frr, state['dry_run'])}",
        f"FRR's daemons      {_access(state['frr_access'])}",
        f"redirect rule      {_redirect(redirect)}",
        "",
        _peers(state["peers"]),
        "",
        _decisions(state["decisions"][-20:]),
    ]
    return "\n".join(parts)


def _tunnels(tunnels: list[dict[str, Any]]) -> str:
    words = {True: "up", False: "DOWN", None: "ABSENT"}
    return "; ".join(f"{one['name']} (profile {one['profile']}) is {words[one['up']]}" for one in tunnels)


def _nhrpd(nhrpd: dict[str, Any]) -> str:
    asks = "connected" if nhrpd["connected"] else "NOT CONNECTED to the event socket (it tries every 10 s)"
    return f"{asks}; its cache cannot be read: {nhrpd['trouble']}" if nhrpd["trouble"] else asks


def _charon(charon: dict[str, Any]) -> str:
    if not charon["connected"]:
        return "NOT CONNECTED"
    kind = "patched: no bridge needed" if charon["patched"] else "unpatched: nhrpd needs the bridge"
    return f"connected, {len(charon['ike_sas'])} IKE_SAs, {kind}"


def _trust(trust: dict[str, Any]) -> str:
    parts = [f"{len(trust['authorities'])} CAs"]
    for crl in trust["crls"]:
        until = f", to be renewed by {crl['next_update']}" if crl["next_update"] else ""
        parts.append(f"{crl['revoked']} revoked by {crl['issuer']}{until}")
    if not trust["crls"]:
        parts.append("no CRL")
    parts += [f"NOT USED: {problem}" for problem in trust["problems"]]
    return "; ".join(parts)


def _frr(frr: dict[str, Any] | None, dry_run: bool) -> str:
    if frr is None:
        return "BGP is not managed"
    # Those that block a neighbor are the trouble already.
    others = "".join(f"; {one['found']}: {one['do']}" for one in frr["problems"] if not one["blocks"])
    if frr["trouble"]:
        return f"NOT IN STEP: {frr['trouble']}{others}"
    if dry_run and frr["pending_changes"]:
        return f"DRY RUN: {len(frr['pending_changes'])} changes would be made; `dmvpn-agent plan` shows them"
    return f"{'as desired' if frr['in_sync'] else 'not yet compared'}, last seen so {frr['last_sync']}{others}"


def _access(access: dict[str, Any]) -> str:
    parts = [f"{daemon} read by {way}" for daemon, way in sorted(access["read_by"].items())] or ["none was read yet"]
    return "; ".join([*parts, *([f"bgpd written by {access['written_by']}"] if access["written_by"] else [])])


def _redirect(redirect: dict[str, Any] | None) -> str:
    if redirect is None:
        return "not managed"
    return f"in place, {redirect['packets']} packets logged" if redirect["installed"] else "NOT IN PLACE"


def _peers(peers: list[dict[str, Any]]) -> str:
    if not peers:
        return "no peers"
    return table(
        ("PEER", "NBMA", "AS", "BOUND", "BGP", "RECEIVED", "PREFIXES", "SUBJECT"),
        (
            (
                peer["protocol_address"],
                peer["nbma_address"],
                peer["as_number"] or "-",
                "yes" if peer["bound"] else f"not since {peer['absent_since']}",
                _session(peer),
                peer["bgp"]["prefixes_received"] if peer["bgp"] else "-",
                ",".join(peer["prefixes"]) or "-",
                peer["subject"],
            )
            for peer in peers
        ),
    )


def _session(peer: dict[str, Any]) -> str:
    """Return the state of a peer's BGP session, or which of its addresses has the neighbor."""
    if peer["quarantined"]:
        return "quarantined"
    if peer["neighbor"] not in {None, peer["protocol_address"]}:
        return f"by {peer['neighbor']}"
    return str(peer["bgp"]["state"]) if peer["bgp"] else "-"


def _decisions(decisions: list[dict[str, Any]]) -> str:
    if not decisions:
        return "no decisions since the start"
    return table(
        ("TIME", "DECISION", "PEER", "NBMA", "WHY"),
        (
            (
                decision["time"],
                decision["decision"],
                decision.get("protocol_address", "-"),
                decision.get("nbma_address", "-"),
                why(decision),
            )
            for decision in decisions
        ),
    )


def why(decision: dict[str, Any]) -> str:
    """Return the reason of one decision in a sentence; empty for an accept."""
    if "reason" not in decision:
        return ""
    return f"{decision['reason']}: {decision['field']} is {decision['found']}; expected {decision['expected']}"
