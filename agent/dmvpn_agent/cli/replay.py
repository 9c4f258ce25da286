"""``replay``: judges recorded events by a policy, at the times of the recording, and shows the decisions that change.

A conflict between peers depends on the other peers, which a recording does not have. A peer that was denied for a
conflict is denied again, unless the policy lets the newer peer take over.
"""

import time
from argparse import ArgumentParser, Namespace
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
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import complain, say, say_json
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.view.table import table
from dmvpn_agent.x509.certificate import Certificate

#: Seconds between two lines of progress.
PROGRESS_INTERVAL = 2.0
#: The largest number of distinct changes and of damaged lines that are shown; more are only counted.
MAX_SHOWN = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """A decision on one peer that changes. ``what`` is the kind of change; the other fields are text for people."""

    what: str
    peer: str
    subject: str
    before: str
    after: str


@dataclass(slots=True)
class Occurrences:
    """The number of events with the same change, and the times of the first and the last."""

    first: datetime
    last: datetime
    count: int = 1


@dataclass(slots=True)
class Replay:
    """The result. ``totals``: events by kind of change. ``damaged``: the lines that cannot be read, and why."""

    totals: Counter[str] = field(default_factory=Counter)
    changes: dict[Change, Occurrences] = field(default_factory=dict)
    damaged: list[tuple[int, str]] = field(default_factory=list)

    @property
    def events(self) -> int:
        """Return the number of events that could be read."""
        return self.totals.total() - self.totals["damaged"]

    @property
    def different(self) -> bool:
        """Tell whether any decision changes."""
        return any(count for what, count in self.totals.items() if what not in {"same", "damaged"})


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a file that `run --record` wrote")


def run(arguments: Namespace) -> int:
    """Print the decisions that change; return the exit status. Raises ``ConfigError``."""
    context, file = load_context(arguments.config), arguments.recording
    try:
        with file.open("rb") as stream:
            replayed = replay(stream, context.judge, Progress(file.stat().st_size))
    except OSError as error:
        raise RequestError(Code.USAGE, f"{file}: cannot be read: {error.strerror}") from error
    if replayed.damaged and not replayed.events:
        number, why = replayed.damaged[0]
        raise RequestError(Code.USAGE, f"{file} is no recording: line {number}: {why}; expected a file that"
                           " `dmvpn-agent run --record` wrote")  # fmt: skip
    if arguments.json:
        say_json("replay/1", _json(replayed))
    else:
        say(_text(replayed))
    return Exit.DEGRADED if replayed.different else Exit.HEALTHY


def replay(stream: BinaryIO, judge: Judge, progress: Callable[[int, int], None]) -> Replay:
    """Judge every event of a recording again; call ``progress`` with the numbers of lines and bytes read so far."""
    replayed = Replay()
    octets = 0
    for number, line in enumerate(_lines(stream), start=1):
        octets += len(line)
        progress(number, octets)
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
    """Yield lines; of a line that is too long, its beginning, which counts as damaged."""
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
    change = Change(what, _peer(request), _subject(request), _describe(before), _describe(after))
    if (former := replayed.changes.get(change)) is not None:
        former.count += 1
        former.last = recorded.time
    elif len(replayed.changes) < MAX_SHOWN:
        replayed.changes[change] = Occurrences(recorded.time, recorded.time)


def _decide(why: str, request: BindingRequest | None, recorded: Recorded, judge: Judge) -> Decision:
    if request is None:
        return Deny(Reason.MALFORMED_EVENT, "event", why, "an authorize-binding event of nhrpd")
    decision = judge.decide(request, recorded.time)
    reason = recorded.outcome.reason
    peer = (decision.peer or next(iter(decision.behind), None)) if isinstance(decision, Accept) else None
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
    return "same" if _written(before.entitled) == _written(after.entitled) else "other resources"


def _written(entitled: Entitled | None) -> tuple[object, ...]:
    """Return what the agent writes to FRR for a peer; the prefix length of an unused IP version does not count."""
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


def _describe(outcome: Outcome) -> str:
    """Return an outcome in a few words, without the values of a denial that differ between events."""
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
    """Prints to standard error how much of a long recording was read."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = time.monotonic() + PROGRESS_INTERVAL

    def __call__(self, lines: int, octets: int) -> None:
        """Print the progress if the interval has passed."""
        if lines % 256 == 0 and (now := time.monotonic()) >= self._next:
            self._next = now + PROGRESS_INTERVAL
            complain(f"dmvpn-agent: {lines} events, {100 * octets // max(self._size, 1)} %")


def _text(replayed: Replay) -> str:
    parts = []
    if replayed.changes:
        rows = (
            (change.what, found.count, f"{found.first:%Y-%m-%d %H:%M:%S}", change.peer, change.before, change.after,
             change.subject)
            for change, found in replayed.changes.items()
        )  # fmt: skip
        parts.append(table(("CHANGE", "EVENTS", "FIRST (UTC)", "PEER", "BEFORE", "NOW", "SUBJECT"), rows, 60))
    if replayed.damaged:
        parts.append("\n".join(f"line {number} is skipped: {printable(why)}" for number, why in replayed.damaged))
    counts = ", ".join(f"{count} {what}" for what, count in sorted(replayed.totals.items()))
    parts.append(f"{replayed.events} events: {counts}." if replayed.totals else "No events.")
    return "\n\n".join(parts)


def _json(replayed: Replay) -> dict[str, Any]:
    return {
        "different": replayed.different,
        "totals": dict(replayed.totals),
        "changes": [
            {
                "change": change.what,
                "events": occurrences.count,
                "first": occurrences.first.isoformat(),
                "last": occurrences.last.isoformat(),
                "protocol_address": change.peer,
                "subject": change.subject,
                "before": change.before,
                "after": change.after,
            }
            for change, occurrences in replayed.changes.items()
        ],
        "damaged": [{"line": number, "why": why} for number, why in replayed.damaged],
    }
