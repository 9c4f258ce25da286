"""The check of the node's clock, by which certificates and CRLs are judged.

Nothing tells whether a clock is right where no time server is asked. So only contradictions are reported.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.clock import ClockView
from dmvpn_agent.doctor.node import Unknown

#: A file server's clock may differ from the node's.
TOLERANCE = timedelta(minutes=10)
_NAME = "clock"
_SET = "set the clock, or see why the time daemon does not (`timedatectl`, `chronyc tracking`)"


def clock_checks(clock: ClockView | Unknown, now: datetime) -> Iterator[Check]:
    """Yield the check, or none if nothing can be read. Certificates of this node have one of their own."""
    if isinstance(clock, Unknown):
        return
    found = _shown(now)
    if clock.authorities_from and clock.authorities_from > now:
        begin = _shown(clock.authorities_from)
        yield Check(_NAME, Level.FAULT, f"{found}; the CA certificates are valid from {begin}",
                    "a time at which a CA is valid: before it, every peer is denied", _SET)  # fmt: skip
    elif clock.synchronised is False:
        yield Check(_NAME, Level.WARNING, f"{found}; {clock.daemon} runs, and has not synchronised it",
                    "a clock that the time daemon has set", _SET)  # fmt: skip
    elif not clock.synchronised and clock.written and clock.written > now + TOLERANCE:
        yield Check(_NAME, Level.WARNING, f"{found}; the agent wrote {clock.file} at {_shown(clock.written)}",
                    "a time after that", f"{_SET}; if it is right now, it was ahead then")  # fmt: skip
    else:
        how = f"synchronised by {clock.daemon}" if clock.synchronised else "no time daemon that says if it is right"
        yield Check(_NAME, Level.OK, f"{found}; {how}")


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
