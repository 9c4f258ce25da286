"""``replay``: recorded events judged by a policy, at the times they were recorded, and what would be different.

A conflict between peers depends on who was there, which no recording says: what was denied for one counts as denied
for it again, unless the policy lets the newer peer take over.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from dmvpn_agent.admission.nhrp_event import BadEvent, parse_event
from dmvpn_agent.admission.recording import MAX_LINE_BYTES, Entitled, Outcome, Recorded, RecordingError, outcome, read
from dmvpn_agent.explain.context import load_context
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.judge import Judge
from dmvpn_agent.policy.reasons import CONFLICTS, Reason
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import OnConflict
from dmvpn_agent.runtime.output import complain, say
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.certificate import Certificate

EXIT_SAME, EXIT_DIFFERENT, EXIT_UNREADABLE = 0, 1, 2
#: Seconds between two lines of progress; what takes less has none.
PROGRESS_INTERVAL = 2.0
#: Different changes that are told apart, and damaged lines that are named; more are only counted.
MAX_SHOWN = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """What would be different for one peer. ``what`` is the kind of change, the rest is text for people."""

    what: str
    peer: str
    subject: str
    before: str
    after: str


@dataclass(slots=True)
class Seen:
    """How often a change came, and when."""

    first: datetime
    last: datetime
    count: int = 1


@dataclass(slots=True)
class Replay:
    """What came of a recording. ``totals``: events by what became of them. ``damaged``: line numbers, and why."""

    totals: Counter[str] = field(default_factory=Counter)
    changes: dict[Change, Seen] = field(default_factory=dict)
    damaged: list[tuple[int, str]] = field(default_factory=list)

    @property
    def different(self) -> bool:
        """Tell whether anything would be decided differently."""
        return any(count for what, count in self.totals.items() if what not in {"same", "damaged"})


def run(file: Path, config: Path, as_json: bool) -> int:
    """Print what would change; return the exit status. Raises ``ConfigError``."""
    context = load_context(config)
    try:
        with file.open("rb") as stream:
            replayed = replay(stream, context.judge, Progress(file.stat().st_size))
    except OSError as error:
        complain(f"dmvpn-agent: {file}: cannot be read: {error.strerror}")
        return EXIT_UNREADABLE
    say(json.dumps(_json(replayed), indent=2) if as_json else _text(replayed))
    return EXIT_DIFFERENT if replayed.different else EXIT_SAME


def replay(stream: BinaryIO, judge: Judge, progress: Callable[[int, int], None]) -> Replay:
    """Judge every event of a recording again; ``progress`` is told of lines and bytes that were read."""
    replayed = Replay()
    place = 0
    for number, line in enumerate(_lines(stream), start=1):
        place += len(line)
        progress(number, place)
        try:
            recorded = read(line)
        except RecordingError as error:
            replayed.totals["damaged"] += 1
            if len(replayed.damaged) < MAX_SHOWN:
                replayed.damaged.append((number, str(error)))
            continue
        _compare(recorded, judge, replayed)
    return replayed


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines; of one that is too long, its beginning, which is then damaged."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES + 1)


def _compare(recorded: Recorded, judge: Judge, replayed: Replay) -> None:
    event = parse_event(recorded.message)
    request = None if isinstance(event, BadEvent) else replace(event.request, ike_peers=recorded.ike_peers)
    after = outcome(_decide(event.why if isinstance(event, BadEvent) else "", request, recorded, judge))
    before = recorded.outcome
    what = _difference(before, after)
    replayed.totals[what] += 1
    if what == "same":
        return
    change = Change(what, _peer(request), _subject(request), _told(before), _told(after))
    if (seen := replayed.changes.get(change)) is not None:
        seen.count += 1
        seen.last = recorded.time
    elif len(replayed.changes) < MAX_SHOWN:
        replayed.changes[change] = Seen(recorded.time, recorded.time)


def _decide(why: str, request: BindingRequest | None, recorded: Recorded, judge: Judge) -> Decision:
    if request is None:
        return Deny(Reason.MALFORMED_EVENT, "event", why, "an authorize-binding event of nhrpd")
    decision = judge.decide(request, recorded.time)
    reason = recorded.outcome.reason
    peer = (decision.peer or decision.behind) if isinstance(decision, Accept) else None
    if reason in CONFLICTS and peer is not None:
        rules = judge.policy.rules[request.interface][peer.kind]
        if rules.on_conflict is not OnConflict.TAKE_OVER or reason is Reason.NBMA_ADDRESS_CONFLICT:
            return Deny(reason, *recorded.outcome.why)
    return decision


def _difference(before: Outcome, after: Outcome) -> str:
    if before.accepted != after.accepted:
        return "accept to deny" if before.accepted else "deny to accept"
    if before.reason is not after.reason:
        return "other reason"
    return "same" if _given(before.entitled) == _given(after.entitled) else "other resources"


def _given(entitled: Entitled | None) -> tuple[object, ...]:
    """Return what FRR is given for a peer: a length for prefixes it has none of is nothing to compare."""
    if entitled is None:
        return ()
    return entitled.kind, entitled.as_number, entitled.prefixes, entitled.quarantined, _lengths(entitled)


def _lengths(entitled: Entitled) -> tuple[str, ...]:
    versions = sorted({prefix.version for prefix in entitled.prefixes})
    return tuple(f"/{entitled.max_prefix_length[version == 6]}" for version in versions)


def _peer(request: BindingRequest | None) -> str:
    return "?" if request is None else str(request.protocol_address)


def _subject(request: BindingRequest | None) -> str:
    certificate = request.certificate if request is not None else None
    return certificate.subject if isinstance(certificate, Certificate) else "(no certificate that can be read)"


def _told(outcome: Outcome) -> str:
    """Return an outcome in a few words: the values of a denial differ from one event to the next."""
    if outcome.reason is not None:
        return f"{outcome.reason}: {outcome.why[1]}"
    entitled = outcome.entitled
    if entitled is None:
        return "a host"
    prefixes = ",".join(str(prefix) for prefix in entitled.prefixes) or "nothing"
    number = "quarantine" if entitled.quarantined else f"AS {entitled.as_number or '-'}"
    lengths = f" to {' or '.join(_lengths(entitled))}" if entitled.prefixes else ""
    return f"{entitled.kind}, {number}, {prefixes}{lengths}"


class Progress:
    """Says on standard error how far a long recording is read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = time.monotonic() + PROGRESS_INTERVAL

    def __call__(self, lines: int, place: int) -> None:
        """Note that so many lines, and bytes, were read."""
        if lines % 256 == 0 and (now := time.monotonic()) >= self._next:
            self._next = now + PROGRESS_INTERVAL
            complain(f"dmvpn-agent: {lines} events, {100 * place // max(self._size, 1)} %")


def _text(replayed: Replay) -> str:
    parts = []
    if replayed.changes:
        rows = (
            (change.what, seen.count, f"{seen.first:%Y-%m-%d %H:%M:%S}", change.peer, change.before, change.after,
             change.subject)
            for change, seen in replayed.changes.items()
        )  # fmt: skip
        parts.append(table(("CHANGE", "EVENTS", "FIRST (UTC)", "PEER", "BEFORE", "NOW", "SUBJECT"), rows, 60))
    if replayed.damaged:
        parts.append("\n".join(f"line {number} is skipped: {printable(why)}" for number, why in replayed.damaged))
    events = sum(count for what, count in replayed.totals.items() if what != "damaged")
    counts = ", ".join(f"{count} {what}" for what, count in sorted(replayed.totals.items()))
    parts.append(f"{events} events: {counts}." if replayed.totals else "No events.")
    return "\n\n".join(parts)


def _json(replayed: Replay) -> dict[str, Any]:
    return {
        "different": replayed.different,
        "totals": dict(replayed.totals),
        "changes": [
            {
                "change": change.what,
                "events": seen.count,
                "first": seen.first.isoformat(),
                "last": seen.last.isoformat(),
                "protocol_address": change.peer,
                "subject": change.subject,
                "before": change.before,
                "after": change.after,
            }
            for change, seen in replayed.changes.items()
        ],
        "damaged": [{"line": number, "why": why} for number, why in replayed.damaged],
    }
