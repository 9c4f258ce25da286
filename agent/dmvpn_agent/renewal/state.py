"""What is known about the renewal, in a file that everybody may read: root renews, the agent shows how it goes."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dmvpn_agent.runtime.whole_file import write_whole

FILE = "state.json"
_LONGEST = 65536


@dataclass(frozen=True, slots=True)
class RenewalState:
    """How it went. Times are aware, UTC.

    ``due``: when the present certificate is to be renewed. ``failures``: since the last success. ``trouble``: why the
    last attempt failed; empty if it did not. ``next_attempt``: not before then. ``in_use``: the fingerprint of the
    certificate with which all IKE_SAs were made.
    """

    due: datetime | None = None
    not_after: datetime | None = None
    attempted: datetime | None = None
    succeeded: datetime | None = None
    failures: int = 0
    trouble: str = ""
    next_attempt: datetime | None = None
    in_use: str = ""


_TIMES = ("due", "not_after", "attempted", "succeeded", "next_attempt")


def read_state(directory: Path) -> RenewalState:
    """Return the state; that of a node that never renewed if the file is missing or unreadable."""
    try:
        with (directory / FILE).open("rb") as file:
            return state_from(file.read(_LONGEST))
    except OSError:
        return RenewalState()


def state_from(data: bytes) -> RenewalState:
    """Return the state of a file's content. Never raises."""
    try:
        found: dict[str, Any] = json.loads(data)
        times = {name: _time(found.get(name)) for name in _TIMES}
        return RenewalState(
            **times,
            failures=int(found.get("failures", 0)),
            trouble=str(found.get("trouble", ""))[:2000],
            in_use=str(found.get("in_use", ""))[:200],
        )
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return RenewalState()


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError("no time zone")
    return time


def write_state(directory: Path, state: RenewalState) -> None:
    """Write the state. Raises ``OSError``."""
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(state).items()
    }
    write_whole(directory / FILE, json.dumps(values, indent=1).encode(), mode=0o644)
