"""``check``: whether a configuration is valid, what the agent would do, and what FRR and the kernel lack for it."""

import asyncio
import dataclasses
from argparse import Namespace

from dmvpn_agent.bgp.bgpd import FrrUnavailable
from dmvpn_agent.bgp.problem import BgpProblem
from dmvpn_agent.cli.configuration_text import configuration_text
from dmvpn_agent.cli.tunnel_text import tunnel_json, tunnel_text
from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.doctor.inspect import read_bgp
from dmvpn_agent.kernel.links.read_preview import read_preview
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.output import say, say_json, say_lines

#: Seconds to wait for bgpd.
TIMEOUT = 10.0


def run(arguments: Namespace) -> int:
    """Print a configuration; return 0 if it is valid, whatever the state of FRR. Raises ``ConfigError``."""
    logs.set_up_for_command()
    config = load(arguments.config)
    problems = asyncio.run(_frr_problems(config))
    links = asyncio.run(read_preview(config.links))
    if arguments.json:
        rows = None if problems is None else [
            {"kind": str(problem.kind), "found": problem.found, "do": problem.do} for problem in problems
        ]  # fmt: skip
        result = {"valid": True, "configuration": dataclasses.asdict(config), "frr_problems": rows,
                  "tunnels": tunnel_json(links)}  # fmt: skip
        say_json("check/1", result)
        return 0
    say(configuration_text(config))
    for problem in problems or ():
        say(f"\nFRR: {problem.found}\n     {problem.do}")
    if lines := list(tunnel_text(links)):
        say_lines(("", *lines[:-1]))
    return 0


async def _frr_problems(config: Config) -> tuple[BgpProblem, ...] | None:
    """Return the problems in FRR's configuration; ``None`` if the agent does not manage BGP or cannot read bgpd."""
    if config.bgp is None:
        return None
    try:
        async with asyncio.timeout(TIMEOUT):
            return await read_bgp(config)
    except (FrrUnavailable, TimeoutError):
        return None
