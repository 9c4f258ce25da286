"""``check``: whether a configuration is valid, what would be done with it, and what in FRR hinders that."""

import asyncio
import dataclasses
import json
from pathlib import Path

from dmvpn_agent.bgp.bgpd import FrrUnavailable
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.cli.configuration_text import configuration_text
from dmvpn_agent.config.file import Config, load
from dmvpn_agent.doctor.inspect import read_bgp
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.output import say

#: Seconds for which bgpd is waited for.
TIMEOUT = 10.0


def run(file: Path, as_json: bool) -> int:
    """Print a configuration; return the exit status, which says nothing about FRR. Raises ``ConfigError``."""
    logs.set_up_for_command()
    config = load(file)
    found = asyncio.run(_found_in_frr(config))
    if as_json:
        problems = None if found is None else [
            {"kind": str(problem.kind), "found": problem.found, "do": problem.do} for problem in found
        ]  # fmt: skip
        told = {"valid": True, "configuration": dataclasses.asdict(config), "frr_problems": problems}
        say(json.dumps(told, default=str, indent=2))
        return 0
    say(configuration_text(config))
    for problem in found or ():
        say(f"\nFRR: {problem.found}\n     {problem.do}")
    return 0


async def _found_in_frr(config: Config) -> tuple[BgpProblem, ...] | None:
    """Return what in FRR hinders the agent, ``None`` if it is not managed or cannot be read here and now."""
    if config.bgp is None:
        return None
    try:
        async with asyncio.timeout(TIMEOUT):
            return await read_bgp(config)
    except (FrrUnavailable, TimeoutError):
        return None
