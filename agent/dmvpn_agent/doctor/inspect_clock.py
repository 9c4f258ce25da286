"""Reads what says if the node's clock is right, for ``dmvpn-agent doctor``."""

import asyncio
import ctypes
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from dmvpn_agent.doctor.clock import ClockView
from dmvpn_agent.runtime.program import ProgramError, run
from dmvpn_agent.x509.trust import Trust

TIMEOUT = 5.0
MAX_OUTPUT = 4096
#: Files that are looked at.
MAX_FILES = 1000
#: Time daemons by the name of their process, of which the kernel keeps 15 characters.
CHRONY, TIMESYNCD = "chronyd", "systemd-timesyn"
_NAMES = {CHRONY: "chronyd", TIMESYNCD: "systemd-timesyncd"}
#: adjtimex(2) returns this while the clock is not synchronised.
_TIME_ERROR = 5
#: More than struct timex has anywhere.
_TIMEX = 1024


async def read_clock(state_directory: Path, trust: Trust, processes: Path = Path("/proc")) -> ClockView:
    """Return what is known of the clock."""
    name, written = await asyncio.to_thread(_newest, state_directory)
    begins = [one.not_before for one in trust.authorities]
    daemon = await asyncio.to_thread(_daemon, processes)
    synchronised = await _is_synchronised(daemon) if daemon else None
    return ClockView(_NAMES.get(daemon, ""), synchronised, name, written, min(begins, default=None))


def _newest(folder: Path) -> tuple[str, datetime | None]:
    """Return the file that was written last, by the kernel's clock: a copy of an older file has a new time too."""
    times = []
    with suppress(OSError):
        for path in islice(folder.iterdir(), MAX_FILES):
            with suppress(OSError):
                times.append((path.stat().st_ctime, str(path)))
    if not times:
        return "", None
    time, name = max(times)
    return name, datetime.fromtimestamp(time, UTC)


def _daemon(processes: Path) -> str:
    return next((name for name in _commands(processes) if name in _NAMES), "")


def _commands(processes: Path) -> Iterator[str]:
    for path in processes.glob("[0-9]*/comm"):
        with suppress(OSError):  # the process has ended
            yield path.read_text().strip()


async def _is_synchronised(daemon: str) -> bool | None:
    """Ask chronyd itself: it tells the kernel only if ``rtcsync`` is configured. timesyncd tells the kernel."""
    if daemon == CHRONY:
        with suppress(ProgramError):
            done = await run(("chronyc", "-n", "-c", "tracking"), timeout=TIMEOUT, max_output=MAX_OUTPUT)
            fields = done.stdout.strip().split(",")
            if done.status == 0 and len(fields) > 1:
                return fields[-1] != "Not synchronised"
        return None
    with suppress(OSError, AttributeError):
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX)))
        return None if state < 0 else state != _TIME_ERROR
    return None
