"""The state of the agent as text, for ``dmvpn-agent status``."""

from typing import Any

from dmvpn_agent.view.table import table


def status_text(state: dict[str, Any]) -> str:
    """Return the state of each component, the peers and the latest decisions."""
    frr, redirect = state["frr"], state["redirect"]
    parts = [
        f"{state['role']}, dmvpn-agent {state['version']}, running since {state['started']}"
        + (", DRY RUN: it changes nothing" if state["dry_run"] else ""),
        f"tunnel interfaces  {_tunnels(state['tunnel_interfaces'], state['tunnels'])}",
        f"nhrpd              {_nhrpd(state['nhrpd'])}",
        f"charon             {_charon(state['charon'])}",
        f"CAs and CRLs       {_trust(state['trust'])}",
        f"FRR                {_frr(frr, state['dry_run'])}",
        f"FRR's daemons      {_access(state['frr_access'])}",
        f"redirect rule      {_redirect(redirect)}",
        f"source filter      {_source_filter(state['source_filter'])}",
        "",
        _peers(state["peers"]),
        "",
        _decisions(state["decisions"][-20:]),
    ]
    return "\n".join(parts)


def _tunnels(tunnels: list[dict[str, Any]], kept: dict[str, Any]) -> str:
    words = {True: "up", False: "DOWN", None: "ABSENT"}
    parts = [f"{one['name']} (profile {one['profile']}) is {words[one['up']]}" for one in tunnels]
    parts += [f"{name} is NOT AS CONFIGURED: {', '.join(lines)}" for name, lines in kept["left"].items()]
    return "; ".join([*parts, *(f"{one['found']}: {one['do']}" for one in kept["problems"])])


def _nhrpd(nhrpd: dict[str, Any]) -> str:
    state = "connected" if nhrpd["connected"] else "NOT CONNECTED to the event socket (it tries every 10 s)"
    return f"{state}; its cache cannot be read: {nhrpd['trouble']}" if nhrpd["trouble"] else state


def _charon(charon: dict[str, Any]) -> str:
    if not charon["connected"]:
        return "NOT CONNECTED"
    kind = "patched: no bridge needed" if charon["patched"] else "unpatched: nhrpd needs the bridge"
    return f"connected, {len(charon['ike_sas'])} IKE_SAs, {kind}"


def _trust(trust: dict[str, Any]) -> str:
    parts = [f"{len(trust['authorities'])} CAs"]
    for crl in trust["crls"]:
        until = f", next update {crl['next_update']}" if crl["next_update"] else ""
        parts.append(f"{crl['revoked']} revoked by {crl['issuer']}{until}")
    if not trust["crls"]:
        parts.append("no CRL")
    parts += [f"NOT USED: {problem}" for problem in trust["problems"]]
    return "; ".join(parts)


def _frr(frr: dict[str, Any] | None, dry_run: bool) -> str:
    if frr is None:
        return "BGP is not managed"
    # The trouble names the problems that block a neighbor.
    others = "".join(f"; {one['found']}: {one['do']}" for one in frr["problems"] if not one["blocks"])
    if frr["trouble"]:
        return f"NOT AS DESIRED: {frr['trouble']}{others}"
    if dry_run and frr["pending_changes"]:
        return f"DRY RUN: {len(frr['pending_changes'])} changes not made; `dmvpn-agent plan` shows them"
    return f"{'as desired' if frr['in_sync'] else 'not yet compared'}, last checked {frr['last_sync']}{others}"


def _access(access: dict[str, Any]) -> str:
    parts = [f"{daemon} read by {way}" for daemon, way in sorted(access["read_by"].items())] or ["none read yet"]
    return "; ".join([*parts, *([f"bgpd written by {access['written_by']}"] if access["written_by"] else [])])


def _redirect(redirect: dict[str, Any] | None) -> str:
    if redirect is None:
        return "not managed"
    return f"installed, {redirect['packets']} packets logged" if redirect["installed"] else "NOT INSTALLED"


def _source_filter(source_filter: dict[str, Any] | None) -> str:
    if source_filter is None:
        return "off"
    if not source_filter["installed"]:
        return f"NOT INSTALLED ({source_filter['mode']})"
    counts = {one["protocol_address"]: one["spoofed_packets"] for one in source_filter["peers"]}
    counts["no peer"] = source_filter["unknown_sender_packets"]
    forged = ", ".join(f"{packets} of {peer}" for peer, packets in counts.items() if packets)
    fate = "dropped" if source_filter["mode"] == "enforce" else "counted, not dropped"
    return f"{source_filter['mode']}; forged packets {fate}: {forged or 'none'}"


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
    """Return the state of a peer's BGP session, or the address of the peer that has the neighbor."""
    if peer["quarantined"]:
        return "quarantined"
    if peer["neighbor"] not in {None, peer["protocol_address"]}:
        return f"at {peer['neighbor']}"
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
    """Return the reason of a denial in a sentence; empty for an accept."""
    if "reason" not in decision:
        return ""
    return f"{decision['reason']}: {decision['field']} is {decision['found']}; expected {decision['expected']}"
