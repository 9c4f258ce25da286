"""One check of a node: what was found, what was expected, and what to do."""

from dataclasses import dataclass
from enum import StrEnum

from dmvpn_agent.doctor.node import Unknown


class Level(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, as text for people. If it is ``OK``, ``expected`` and ``do`` are empty."""

    name: str
    level: Level
    found: str
    expected: str = ""
    do: str = ""


def result(name: str, good: bool, found: object, expected: str, do: str, level: Level = Level.FAULT) -> Check:
    """Return a check that is ``OK`` if ``good``, and of ``level`` otherwise."""
    return Check(name, Level.OK, str(found)) if good else Check(name, level, str(found), expected, do)


def unknown(name: str, state: Unknown, do: str) -> Check:
    """Return a check of something that could not be read: a fault, or a warning if only permission was missing."""
    if state.permission:
        do = "run the doctor as root"
    level = Level.WARNING if state.permission else Level.FAULT
    return Check(name, level, f"cannot be read: {state.why}", "readable by the doctor", do)
