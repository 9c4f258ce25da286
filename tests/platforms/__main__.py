"""``make platforms``: the checkout on each system that it is for, and a table of what ran where.

The exit status is 0 if every stage passed, 1 if one failed, and 3 if none failed but a root could not be made, for
example because a package registry cannot be reached.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from platforms import alpine, debian
from platforms.room import RoomError
from platforms.stage import Outcome, Stage, run

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = (*debian.SUITES, "alpine")
PASSED, FAILED, NO_ROOT = 0, 1, 3


def main() -> int:
    """Run the platforms that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="platforms", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PLATFORM", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".platforms", help="where roots and logs are kept")
    parser.add_argument("--no-demo", action="store_true", help="leave the lab out")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"unknown platform {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    statuses = {_try(name, given.folder / name, demo=not given.no_demo) for name in given.names or NAMES}
    return next(status for status in (FAILED, NO_ROOT, PASSED) if status in statuses)


def _try(name: str, folder: Path, *, demo: bool) -> int:
    """Make one platform's root and run its stages; return the exit status for it."""
    began = time.monotonic()
    _say(name, "making a root")
    try:
        stages = _make(name, folder, demo=demo)
    except (RoomError, OSError) as error:
        _say(name, f"NOT RUN: {error}")
        return NO_ROOT
    _say(name, f"root made in {time.monotonic() - began:.0f} s; logs in {folder}")
    good = 0
    try:
        for outcome in run(stages, folder):
            _say(name, _line(outcome))
            if outcome.status:
                print(_last_lines(outcome.log), flush=True)
            good += outcome.status == 0
    except RoomError as error:
        _say(name, f"FAILED: {error}")
    return PASSED if good == len(stages) else FAILED


def _make(name: str, folder: Path, *, demo: bool) -> Sequence[Stage]:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "root.log"
    log.unlink(missing_ok=True)
    if name == "alpine":
        return alpine.stages(alpine.make(CHECKOUT, folder, log), demo=demo)
    return debian.stages(debian.make(debian.SUITES[name], CHECKOUT, folder, log), demo=demo)


def _line(outcome: Outcome) -> str:
    verdict = "passed" if outcome.status == 0 else f"FAILED with exit status {outcome.status}"
    return f"{outcome.stage}: {outcome.said or verdict} in {outcome.seconds:.0f} s"


def _last_lines(log: Path, count: int = 60) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _say(name: str, text: str) -> None:
    print(f"{name}: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
