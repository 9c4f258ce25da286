"""Peers as text: the list of all, and one stage by stage."""

from datetime import datetime
from typing import Any

from dmvpn_agent.runtime.output import BOLD, GREEN, PLAIN, RED, YELLOW
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.view.spans import counted, short_span, size
from dmvpn_agent.view.stage import SESSION_UNKNOWN, Stage
from dmvpn_agent.view.stage_sections import SectionState, sections
from dmvpn_agent.view.stages_text import TEXTS, remedy
from dmvpn_agent.view.table import cells, fitting_columns, hanging

_COLORS = {Stage.UP: GREEN, Stage.UNKNOWN: YELLOW}
HEADER = ("PEER", "STAGE", "SINCE", "ADDRESS", "NBMA", "AS", "BGP", "PREFIXES", "IN", "OUT", "WHY")
#: The columns that a narrow terminal has no room for, the first to go first.
_DROPPED = ("OUT", "IN", "AS", "PREFIXES", "BGP", "NBMA", "ADDRESS")
#: Columns that the reason needs before a column is shown that a narrow terminal can do without.
_REASON = 45
#: Name, stage and time are never cut.
_WHOLE = 3
#: Columns that the text of an entry of the history needs to stand beside it.
_BESIDE = 30
#: Columns of the time of an entry, with the gap behind it.
_TIME = 21


def peers_text(peers: list[dict[str, Any]], now: datetime, width: int | None) -> str:
    """Return a table with a line for each peer; a narrow terminal gets fewer columns."""
    if not peers:
        return "no peers"
    rows = [_row(peer, now) for peer in peers]
    shown = fitting_columns(HEADER, rows, _DROPPED, width, _REASON)
    names = [HEADER[column] for column in shown]
    lines = cells(names, [[row[column] for column in shown] for row in rows], width=width, whole=_WHOLE)
    return "\n".join([
        "  ".join(lines[0]).rstrip(),
        *(_painted(line, names.index("STAGE"), peer["stage"])
          for line, peer in zip(lines[1:], peers, strict=True)),
    ])  # fmt: skip


def _painted(line: list[str], column: int, stage: str) -> str:
    color = _COLORS.get(Stage(stage), RED)
    return "  ".join([*line[:column], f"{color}{line[column]}{PLAIN}", *line[column + 1 :]]).rstrip()


def _row(peer: dict[str, Any], now: datetime) -> tuple[str, ...]:
    bgp, traffic = peer["bgp"], peer["traffic"]
    known = bgp and bgp["state"] != SESSION_UNKNOWN
    return (
        peer["name"],
        peer["stage"],
        short_span(peer["since"], now),
        ",".join(peer["protocol_addresses"]) or "-",
        (peer["nbma_address"] or "-") + (" (NAT)" if peer["nat"] else ""),
        str(peer["as_number"] or "-"),
        bgp["state"] if bgp else "-",
        f"{bgp['accepted']}/{len(bgp['allowed'])}" if known else "-",
        size(traffic["bytes_in"]),
        size(traffic["bytes_out"]),
        peer["why"],
    )


def peer_text(data: dict[str, Any], now: datetime, width: int | None) -> str:
    """Return one peer: who it is, a section for each stage, and its history; longer lines are wrapped."""
    peer = data["peer"]
    stage = Stage(peer["stage"])
    color = _COLORS.get(stage, RED)
    days = f", {_days(peer['certificate_days_left'])}" if peer["certificate_expires"] else ""
    lines = [
        f"{BOLD}{peer['name']}{PLAIN}  {color}{TEXTS[stage].title}{PLAIN}"
        + (f" for {short_span(peer['since'], now)}" if peer["since"] else "")
        + (f"{YELLOW}, in quarantine{PLAIN}" if peer["quarantined"] else ""),
        *hanging(f"  {'kind':12} ", f"{_kind(peer)}, {_EXPECTED[peer['expected']]}", width),
        *hanging(f"  {'certificate':12} ", f"{peer['subject'] or 'none known'}{days}", width),
        *hanging(f"  {'last up':12} ", _last_seen(peer, now), width),
        "",
    ]
    if stage is Stage.UNKNOWN:
        lines[-1:] = [*_below("", peer["why"], width), *_below("do", remedy(peer), width), ""]
    for section in sections(peer, now):
        here = section.state is SectionState.FAILED
        first, *others = hanging(f"{'>>>' if here else '':3} {section.title:13} ", section.text, width)
        lines += [first.replace(">>>", f"{color}>>>{PLAIN}", 1) if here else first, *others]
        if here:
            lines += _below("", peer["why"], width)
            lines += _below("do", remedy(peer), width)
    lines += ["", history_text(data["history"], width, of_one=True)]
    return "\n".join(lines)


def _below(title: str, text: str, width: int | None) -> list[str]:
    return hanging(f"{title:>17} ", text, width)


_EXPECTED = {
    "configured": "expected by the configuration",
    "learned": "known since it was accepted",
    "no": "not expected",
}


def _kind(peer: dict[str, Any]) -> str:
    number = f", AS {peer['as_number']}" if peer["as_number"] else ""
    return f"{peer['kind'] or 'unknown'} on {peer['interface']}{number}"


def _days(days: int) -> str:
    return f"expired {counted(-days, 'day')} ago" if days < 0 else f"{counted(days, 'day')} left"


def _last_seen(peer: dict[str, Any], now: datetime) -> str:
    if peer["stage"] == Stage.UP:
        return "now"
    last = f"{short_span(peer['last_seen'], now)} ago" if peer["last_seen"] else "never, as far as the agent knows"
    return last + (f", lost {counted(peer['flaps'], 'time')} since the agent started" if peer["flaps"] else "")


def history_text(entries: list[dict[str, Any]], width: int | None, *, of_one: bool = False) -> str:
    """Return the entries of the history, oldest first; ``of_one``: all are of one peer.

    In a narrow terminal the text of an entry stands below it, so that nothing is cut.
    """
    if not entries:
        return "no history"
    names = ("TIME (UTC)", "ABOUT", "WHAT", *(() if of_one else ("PEER",)), "")
    rows = [
        (_shown(entry["time"]), entry["kind"], entry["what"], *(() if of_one else (entry["peer"] or "-",)), "")
        for entry in entries
    ]
    texts = [printable(_entry_text(entry)) for entry in entries]
    header, *lines = ("  ".join(line) for line in cells(names, rows))
    if width is not None and width - len(header) < _BESIDE:
        shown = [header]
        for line, text in zip(lines, texts, strict=True):
            shown += [line, *(hanging(" " * _TIME, text, width) if text else ())]
    else:
        shown = [f"{header}TEXT"]
        for line, text in zip(lines, texts, strict=True):
            shown += hanging(line, text, width)
    return "\n".join(line.rstrip() for line in shown)


def _entry_text(entry: dict[str, Any]) -> str:
    times = f" ({entry['count']} times, last {_shown(entry['last'])})" if entry["count"] > 1 else ""
    return f"{entry['text']}{times}"


def _shown(time: str) -> str:
    return time[:19].replace("T", " ")
