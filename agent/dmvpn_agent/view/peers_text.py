"""Peers as text: the list of all, and one stage by stage."""

from datetime import datetime
from textwrap import wrap
from typing import Any

from dmvpn_agent.runtime.output import BOLD, GREEN, PLAIN, RED, YELLOW
from dmvpn_agent.view.spans import short_span, size
from dmvpn_agent.view.stage import Stage
from dmvpn_agent.view.stage_sections import SectionState, sections
from dmvpn_agent.view.stages_text import TEXTS
from dmvpn_agent.view.table import cells, table

_COLORS = {Stage.UP: GREEN, Stage.UNKNOWN: YELLOW}
HEADER = ("PEER", "STAGE", "SINCE", "ADDRESS", "NBMA", "AS", "BGP", "PREFIXES", "IN", "OUT", "WHY")
#: The columns that a narrow terminal has no room for, the first to go first.
_DROPPED = ("OUT", "IN", "AS", "PREFIXES", "BGP", "NBMA")
#: Columns of a terminal at which all are shown.
_WIDE = 130


def peers_text(peers: list[dict[str, Any]], now: datetime, width: int | None) -> str:
    """Return a table with a line for each peer; a narrow terminal gets fewer columns."""
    if not peers:
        return "no peers"
    columns = list(HEADER)
    for name in _DROPPED if width is not None and width < _WIDE else ():
        if len("  ".join(columns)) > (width or 0) * 0.62:
            columns.remove(name)
    rows = [_row(peer, now) for peer in peers]
    lines = cells(columns, [[row[name] for name in columns] for row in rows], width=width, whole=1)
    return "\n".join([
        "  ".join(lines[0]).rstrip(),
        *(_painted(line, columns.index("STAGE"), peer["stage"])
          for line, peer in zip(lines[1:], peers, strict=True)),
    ])  # fmt: skip


def _painted(line: list[str], column: int, stage: str) -> str:
    color = _COLORS.get(Stage(stage), RED)
    return "  ".join([*line[:column], f"{color}{line[column]}{PLAIN}", *line[column + 1 :]]).rstrip()


def _row(peer: dict[str, Any], now: datetime) -> dict[str, str]:
    bgp = peer["bgp"]
    prefixes = f"{bgp['accepted']}/{len(bgp['allowed'])}" if bgp else "-"
    return {
        "PEER": peer["name"] + (" (quarantined)" if peer["quarantined"] else ""),
        "STAGE": peer["stage"],
        "SINCE": short_span(peer["since"], now),
        "ADDRESS": ",".join(peer["protocol_addresses"]) or "-",
        "NBMA": (peer["nbma_address"] or "-") + (" (NAT)" if peer["nat"] else ""),
        "AS": str(peer["as_number"] or "-"),
        "BGP": bgp["state"] if bgp else "-",
        "PREFIXES": prefixes,
        "IN": size(peer["traffic"]["bytes_in"]),
        "OUT": size(peer["traffic"]["bytes_out"]),
        "WHY": peer["why"],
    }


def peer_text(data: dict[str, Any], now: datetime, width: int | None) -> str:
    """Return one peer: who it is, a section for each stage, and its history."""
    peer = data["peer"]
    stage = Stage(peer["stage"])
    color = _COLORS.get(stage, RED)
    lines = [
        f"{BOLD}{peer['name']}{PLAIN}  {color}{TEXTS[stage].title}{PLAIN}"
        + (f" for {short_span(peer['since'], now)}" if peer["since"] else ""),
        f"  kind         {_kind(peer)}, {_EXPECTED[peer['expected']]}",
        f"  certificate  {peer['subject'] or 'none known'}"
        + (f", {_days(peer['certificate_days_left'])}" if peer["certificate_expires"] else ""),
        f"  last up      {_last_seen(peer, now)}",
        "",
    ]
    if stage is Stage.UNKNOWN:
        lines[-1:] = [*_wrapped("", peer["why"], width), *_wrapped("do", TEXTS[stage].do, width), ""]
    for section in sections(peer, now):
        here = section.state is SectionState.FAILED
        mark = f"{color}>>>{PLAIN}" if here else "   "
        lines.append(f"{mark} {section.title:13} {section.text}")
        if here:
            lines += _wrapped("", peer["why"], width)
            lines += _wrapped("do", TEXTS[stage].do, width)
    lines += ["", history_text(data["history"], width)]
    return "\n".join(lines)


def _wrapped(title: str, text: str, width: int | None) -> list[str]:
    indent = 18
    lines = wrap(text, max((width or 1000) - indent, 20)) or [""]
    return [f"{title:>{indent - 1}} {lines[0]}", *(" " * indent + line for line in lines[1:])]


_EXPECTED = {
    "configured": "expected by the configuration",
    "learned": "known since it was accepted",
    "no": "not expected",
}


def _kind(peer: dict[str, Any]) -> str:
    number = f", AS {peer['as_number']}" if peer["as_number"] else ""
    return f"{peer['kind'] or 'unknown'} on {peer['interface']}{number}"


def _days(days: int) -> str:
    return f"expired {-days} days ago" if days < 0 else f"{days} days left"


def _last_seen(peer: dict[str, Any], now: datetime) -> str:
    if peer["stage"] == Stage.UP:
        return "now"
    last = f"{short_span(peer['last_seen'], now)} ago" if peer["last_seen"] else "never, as far as the agent knows"
    return last + (f", lost {peer['flaps']} times since the agent started" if peer["flaps"] else "")


def history_text(entries: list[dict[str, Any]], width: int | None) -> str:
    """Return the entries of the history, oldest first."""
    if not entries:
        return "no history"
    rows = [
        (entry["time"][:19].replace("T", " "), entry["kind"], entry["what"], entry["peer"] or "-",
         entry["text"] + (f" ({entry['count']} times, last {entry['last'][:19].replace('T', ' ')})"
                          if entry["count"] > 1 else ""))
        for entry in entries
    ]  # fmt: skip
    return table(("TIME (UTC)", "ABOUT", "WHAT", "PEER", "TEXT"), rows, width=width)
