"""What the commands print for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

from dmvpn_agent.config import Config
from dmvpn_agent.core.desired import Observed, desired
from dmvpn_agent.core.model import Peer
from dmvpn_agent.core.plan import plan
from dmvpn_agent.core.policy import Combination, OnConflict, Policy, Rules, StaticPeer
from dmvpn_agent.core.printable import printable
from dmvpn_agent.wire import nft
from dmvpn_agent.wire.frr import render


def table(header: Sequence[str], rows: Iterable[Sequence[object]], widest: int = 1000) -> str:
    """Return rows as aligned columns under a header; cells longer than ``widest`` align nothing.

    Each row is one line, whatever is in its cells.
    """
    lines = [tuple(header), *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(min(len(line[column]), widest) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def status(state: dict[str, Any]) -> str:
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


def configuration(config: Config) -> str:
    """Return what would be done with a configuration, and what must stand in FRR's for it."""
    lines = [
        "The configuration is valid.",
        "",
        f"role {config.role}",
        f"  watches charon at   {config.ike.vici_socket}",
        f"  serves metrics at   {config.metrics or '(nowhere)'}",
        f"  keeps its state in  {config.state_directory}",
        "",
        policy(config.policy),
        "",
        "FRR must contain:",
        f"  nhrp event socket {config.event_socket}",
    ]
    if config.redirect:
        lines.append(f"  nhrp nflog-group {config.redirect.nflog_group}")
    for name, profile in config.tunnels.items():
        lines += [f"  interface {name}", f"   tunnel protection vici profile {profile}"]
        for version in sorted(config.policy.ip_versions[name]):
            family = "ip" if version == 4 else "ipv6"
            lines.append(f"   {family} nhrp network-id N")
            lines += [f"   {family} nhrp redirect"] if config.redirect else []
    if config.bgp:
        settings = config.bgp
        lines += [f"  router bgp {settings.as_number}"]
        lines += [f"   neighbor {group} peer-group" for group in settings.groups]
        lines += ["", "For an accepted peer 192.0.2.1 with AS=64512 and NET=198.51.100.0/24 vtysh would be given:"]
        lines += [f"  {line}" for line in _example(config)]
    if config.redirect:
        lines += ["", "nft -f - would be given:", *(f"  {line}" for line in nft.render(config.redirect).splitlines())]
    return "\n".join(lines)


def policy(policy: Policy) -> str:
    """Return the rules in force: what each kind of peer may have on each interface, and what holds for all."""
    parts = [_rules(interface, policy) for interface in policy.rules]
    together = {
        Combination.FIRST: "the first that names some counts",
        Combination.UNION: "all count",
        Combination.AGREE: "those that name some must name the same",
    }[policy.combination]
    crl = "asked for: without a current one a certificate is denied" if policy.requires_crl else "used where known"
    confirms = "a certificate must be that of the IKE_SA" if policy.confirms else "not compared with the certificate"
    whole = [
        ("resources from", f"{_join(policy.sources)}; {together}"),
        ("CRL", crl),
        ("IKE_SA", confirms),
        *(("static peer", _static_peer(row)) for row in policy.static_peers),
        *(("maintenance", str(row)) for row in policy.maintenance),
    ]
    return "\n\n".join([*parts, table(("ALL PEERS", ""), whole)])


def _rules(interface: str, policy: Policy) -> str:
    """Return the rules on one interface, a column for each kind of peer whose rules are its own."""
    kinds = {kind: policy.rules[interface][kind] for kind in policy.kinds}
    if len(different := tuple(dict.fromkeys(_column(rules) for rules in kinds.values()))) == 1:
        columns = {" and ".join(kinds): different[0]}
    else:
        columns = {str(kind): _column(rules) for kind, rules in kinds.items()}
    rows = zip(*columns.values(), strict=True)
    named = ((cells[0][0], *(value for _, value in cells)) for cells in rows)
    return table((f"ON {interface}", *(name.upper() for name in columns)), named)


def _column(rules: Rules) -> tuple[tuple[str, str], ...]:
    ipv4, ipv6 = rules.max_prefix_length
    numbers = _join(rules.as_ranges) + ("; this node's own too" if rules.allows_ibgp else "")
    return (
        ("may join", ("with a hub's role" if rules.requires_hub_role else "yes") if rules.allowed else "no"),
        ("protocol addresses in", _join(rules.tunnel_networks)),
        ("protocol addresses", f"at most {rules.max_protocol_addresses}"),
        ("hosts behind it", "where its prefixes have them" if rules.allows_hosts else "no"),
        ("AS number", f"{'one' if rules.needs_as_number else 'none needed'}, in {numbers}"),
        ("prefixes in", _join(rules.allowed_networks)),
        ("prefixes never in", _join((*rules.tunnel_networks, *rules.forbidden_networks))),
        ("may announce", "all of that, for others" if rules.transit else "the prefixes of its certificate"),
        ("default route", "allowed" if rules.allows_default_route else "no"),
        ("prefixes", f"at most {rules.max_prefixes}, no longer than /{ipv4} (IPv6: /{ipv6})"),
        ("issuers", _join(rules.issuers, "any")),
        ("subjects", _join(rules.subjects, "any")),
        ("what another peer has", _CONFLICTS[rules.on_conflict]),
    )


_CONFLICTS = {
    OnConflict.DENY: "is denied",
    OnConflict.TAKE_OVER: "goes to the newer",
    OnConflict.SHARE: "is denied, but for prefixes of one site",
}


def _static_peer(row: StaticPeer) -> str:
    resources = row.resources
    claims = (*resources.protocol_addresses, *resources.as_numbers, *resources.prefixes, *resources.roles)
    whom = "with or without certificate" if row.overrides else "without certificate"
    return f"{row.identity} ({whom}): {_join(claim.text for claim in claims)}"


def _join(values: Iterable[object], nothing: str = "(none)") -> str:
    return ", ".join(str(value) for value in values) or nothing


def _example(config: Config) -> list[str]:
    assert config.bgp is not None  # noqa: S101  the caller has looked
    peer = Peer(
        protocol_address=ip_address("192.0.2.1"),
        nbma_address=ip_address("203.0.113.1"),
        interface=config.interfaces[0],
        as_number=64512,
        prefixes=(ip_network("198.51.100.0/24"),),
        fingerprint="0" * 64,
        subject="",
        not_after=datetime.max,
    )
    settings = config.bgp
    return render(plan(desired([peer], settings), Observed()).changes, settings.as_number)
