"""The state of the node as text, for ``dmvpn-agent status``."""

from collections.abc import Iterator
from datetime import datetime
from textwrap import wrap
from typing import Any

from dmvpn_agent.runtime.output import GREEN, PLAIN, RED
from dmvpn_agent.view.alerts_text import TEXTS as ALERTS
from dmvpn_agent.view.health import days_left
from dmvpn_agent.view.spans import counted, short_span
from dmvpn_agent.view.stage import Stage

#: Columns of a line's title.
_TITLE = 19


def status_text(state: dict[str, Any], now: datetime, width: int | None = None) -> str:
    """Return the state of each component, the peers in numbers, and what is wrong, in lines of ``width`` columns."""
    failed = _failed_attempts(state.get("failed_attempts", []), now)  # an older agent does not send them
    lines = [_head(state), *_components(state), "", *_peers(state["peer_counts"]), *failed, "", *_faults(state)]
    return "\n".join(_wrapped(lines, width))


def overview_text(state: dict[str, Any], now: datetime, width: int | None = None) -> str:
    """Return the state in a few lines."""
    failed = _failed_attempts(state.get("failed_attempts", []), now)
    return "\n".join(_wrapped([_head(state), *_peers(state["peer_counts"]), *failed, *_faults(state)], width))


def _wrapped(lines: list[str], width: int | None) -> Iterator[str]:
    """Yield the lines; of a line that is too long, the rest stands below its text."""
    for line in lines:
        if width is None or len(line) <= width:
            yield line
        else:
            indent = " " * (4 if line.startswith(" ") else _TITLE)
            yield from wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)


def _head(state: dict[str, Any]) -> str:
    dry = ", DRY RUN: it changes nothing" if state["dry_run"] else ""
    return f"{state['role']}, dmvpn-agent {state['version']}, running since {state['started']}{dry}"


def _components(state: dict[str, Any]) -> Iterator[str]:
    yield f"tunnel interfaces  {_tunnels(state['tunnel_interfaces'], state['tunnels'])}"
    yield f"nhrpd              {_nhrpd(state['nhrpd'])}"
    yield f"charon             {_charon(state['charon'])}"
    for own in state["charon"]["own_certificates"]:
        yield f"own certificate    {own['subject']} {days_left(own['days_left'])}"
    yield f"CAs and CRLs       {_trust(state['trust'])}"
    if state["renewal"]:
        yield f"renewal            {_renewal(state['renewal'])}"
    yield f"bgpd               {_frr(state['frr'], state['dry_run'])}"
    yield f"FRR's daemons      {_access(state['frr_access'])}"
    yield f"redirect rule      {_logging_rule(state['redirect'])}"
    yield f"multicast rule     {_logging_rule(state['multicast'])}"
    yield f"source filter      {_source_filter(state['source_filter'])}"
    yield f"GRE guard          {_gre_guard(state['gre_guard'])}"


def _peers(counts: dict[str, Any]) -> Iterator[str]:
    yield (
        f"peers              {counts['up']} of {counts['total']} up; {counts['expected_up']} of"
        f" {counts['expected']} expected"
    )
    stuck = [f"{count} {stage}" for stage, count in counts["stages"].items() if count and stage != Stage.UP]
    if stuck:
        yield f"stuck at           {', '.join(stuck)}"
    if quarantined := counts.get("quarantined"):  # an agent from before this key does not send it
        yield f"in quarantine      {counted(quarantined, 'peer')}: no BGP neighbor until `dmvpn-agent release`"


def _failed_attempts(failed: list[dict[str, Any]], now: datetime) -> Iterator[str]:
    """Yield who failed to connect and is none of the peers: an expected peer with another name may be among them."""
    for one in failed:
        who = f"{one['nbma_address']}{' as ' * bool(one['identity'])}{one['identity']:.100}"
        because = ALERTS[one["alert"]].because if one["alert"] in ALERTS else one["alert"]
        yield f"failed attempt     {who}, {short_span(one['at'], now)} ago: {because}"


def _faults(state: dict[str, Any]) -> Iterator[str]:
    if not state["degraded"]:
        yield f"{GREEN}healthy{PLAIN}"
        return
    yield f"{RED}DEGRADED{PLAIN}"
    yield from (f"  {fault}" for fault in state["faults"])


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
    return f"connected, {counted(len(charon['ike_sas']), 'IKE_SA')}, {kind}"


def _renewal(renewal: dict[str, Any]) -> str:
    if renewal["due"] is None:
        return "NOT RENEWED yet: does the timer run `dmvpn-agent renew`?"
    text = f"until {renewal['not_after']}, renewed from {renewal['due']} on"
    return (
        f"{text}; NOT RENEWED, {renewal['failures']} failures: {renewal['trouble']}" if renewal["trouble"] else text
    )


def _trust(trust: dict[str, Any]) -> str:
    authorities = len(trust["authorities"])
    parts = [f"{authorities} CA{'' if authorities == 1 else 's'}"]
    for crl in trust["crls"]:
        until = f", next update {crl['next_update']}" if crl["next_update"] else ""
        until += ", OUTDATED" if crl.get("outdated") else ""
        parts.append(f"{crl['revoked']} revoked by {crl['issuer']}{until}")
    if not trust["crls"]:
        parts.append("no CRL")
    parts += [f"NOT USED: {problem}" for problem in trust["problems"]]
    parts += [f"NOT FETCHED: {one['url']}: {one['trouble']}" for one in trust["fetches"] if one["trouble"]]
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


def _logging_rule(rule: dict[str, Any] | None) -> str:
    if rule is None:
        return "not managed"
    return f"installed, {rule['packets']} packets logged" if rule["installed"] else "NOT INSTALLED"


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


def _gre_guard(guard: dict[str, Any] | None) -> str:
    if guard is None:
        return "off"
    if not guard["installed"]:
        why = f": {guard['refusal']}" if guard["refusal"] else ""
        return f"NOT INSTALLED ({guard['mode']}){why}"
    fate = "dropped" if guard["mode"] == "enforce" else "counted, not dropped"
    counts = guard["clear_packets"]
    clear = f"{counts['received']} received, {counts['sent']} sent" if any(counts.values()) else "none"
    return f"{guard['mode']}; GRE packets without IPsec {fate}: {clear}"
