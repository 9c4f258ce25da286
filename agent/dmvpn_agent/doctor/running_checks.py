"""The check of whether the configuration file is newer than what the running agent has applied."""

from collections.abc import Iterator
from datetime import UTC

from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.node import RunningView

_NAME = "configuration in force"


def running_checks(running: RunningView | None) -> Iterator[Check]:
    """Yield the check; none if the agent does not answer, which another check reports."""
    if running is None:
        return
    read, changed = (f"{one.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" for one in (running.read, running.changed))
    if running.changed > running.read:
        yield Check(_NAME, Level.WARNING, f"{running.file} was changed at {changed}, and the agent read it at {read}",
                    "a running agent that has read the file as it is",
                    "run `dmvpn-agent check`, then `dmvpn-agent reload`")  # fmt: skip
    elif running.restart_needed:
        yield Check(_NAME, Level.WARNING, f"{running.file} without {', '.join(running.restart_needed)}",
                    "all keys: the agent reads these at start only", "restart dmvpn-agent")  # fmt: skip
    else:
        yield Check(_NAME, Level.OK, f"{running.file}, read at {read}")
