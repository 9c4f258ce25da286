"""What the commands print for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from ipaddress import ip_address, ip_network
from typing import Any

from dmvpn_agent.config import Config
from dmvpn_agent.core.desired import Observed, desired
from dmvpn_agent.core.model import Peer
from dmvpn_agent.core.plan import plan
from dmvpn_agent.wire import nft
from dmvpn_agent.wire.frr import render


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as aligned columns under a header."""
    lines = [tuple(header), *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def status(state: dict[str, Any]) -> str:
    """Return the agent's state: what is in force, the peers, the latest decisions."""
    tunnel, frr, redirect = state["tunnel_interface"], state["frr"], state["redirect"]
    up = {True: "up", False: "down", None: "absent"}[tunnel["up"]]
    parts = [
        f"{state['role']}, dmvpn-agent {state['version']}, running since {state['started']}",
        f"tunnel interface   {tunnel['name']} is {up}",
        f"nhrpd              {_nhrpd(state['nhrpd'])}",
        f"charon             {_charon(state['charon'])}",
        f"FRR                {_frr(frr)}",
        f"redirect rule      {_redirect(redirect)}",
        "",
        _peers(state["peers"]),
        "",
        _decisions(state["decisions"][-20:]),
    ]
    return "\n".join(parts)


def _nhrpd(nhrpd: dict[str, Any]) -> str:
    asks = "connected" if nhrpd["connected"] else "NOT CONNECTED to the event socket (it tries every 10 s)"
    return f"{asks}; its cache cannot be read: {nhrpd['trouble']}" if nhrpd["trouble"] else asks


def _charon(charon: dict[str, Any]) -> str:
    if not charon["connected"]:
        return "NOT CONNECTED"
    kind = "patched: no bridge needed" if charon["patched"] else "unpatched: nhrpd needs the bridge"
    return f"connected, {len(charon['ike_sas'])} IKE_SAs, {kind}"


def _frr(frr: dict[str, Any] | None) -> str:
    if frr is None:
        return "BGP is not managed"
    if frr["trouble"]:
        return f"NOT IN STEP: {frr['trouble']}"
    return f"{'as desired' if frr['in_sync'] else 'not yet compared'}, last seen so {frr['last_sync']}"


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
                peer["bgp"]["state"] if peer["bgp"] else "-",
                peer["bgp"]["prefixes_received"] if peer["bgp"] else "-",
                ",".join(peer["prefixes"]) or "-",
                peer["subject"],
            )
            for peer in peers
        ),
    )


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
    policy = config.policy
    lines = [
        "The configuration is valid.",
        "",
        f"role {config.role} on {config.interface}",
        f"  accepts protocol addresses in {_join(policy.tunnel_networks)}",
        f"  accepts prefixes in           {_join(policy.allowed_networks)}",
        f"  accepts AS numbers in         {_join(f'{low}-{high}' for low, high in policy.as_ranges)}",
        f"  watches charon at             {config.ike.vici_socket}",
        f"  serves metrics at             {config.metrics or '(nowhere)'}",
        f"  keeps its state in            {config.state_directory}",
        "",
        "FRR must contain:",
        f"  nhrp event socket {config.event_socket}",
    ]
    if config.redirect:
        lines.append(f"  nhrp nflog-group {config.redirect.nflog_group}")
        lines += [f"  interface {config.interface}", "   ip nhrp redirect"]
    if config.bgp:
        settings = config.bgp
        lines += [f"  router bgp {settings.as_number}", f"   neighbor {settings.peer_group} peer-group"]
        lines += ["", "For an accepted peer 192.0.2.1 with AS=64512 and NET=198.51.100.0/24 vtysh would be given:"]
        lines += [f"  {line}" for line in _example(config)]
    if config.redirect:
        lines += ["", "nft -f - would be given:", *(f"  {line}" for line in nft.render(config.redirect).splitlines())]
    return "\n".join(lines)


def _join(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values) or "(none)"


def _example(config: Config) -> list[str]:
    assert config.bgp is not None  # noqa: S101  the caller has looked
    peer = Peer(
        protocol_address=ip_address("192.0.2.1"),
        nbma_address=ip_address("203.0.113.1"),
        interface=config.interface,
        as_number=64512,
        prefixes=(ip_network("198.51.100.0/24"),),
        fingerprint="0" * 64,
        subject="",
        not_after=datetime.max,
    )
    settings = config.bgp
    return render(plan(desired([peer], settings), Observed()).changes, settings.as_number)
