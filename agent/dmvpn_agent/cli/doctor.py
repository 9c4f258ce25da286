"""``doctor``: checks the setup of this node, and says what to do about each fault."""

import asyncio
import dataclasses
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dmvpn_agent.config.file import load
from dmvpn_agent.config.settings import Config
from dmvpn_agent.doctor.check import Check, Level
from dmvpn_agent.doctor.checks import check_node
from dmvpn_agent.doctor.inspect import expected, inspect, with_probes
from dmvpn_agent.doctor.inspect_running import read_running
from dmvpn_agent.doctor.node import NodeView
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import complain, say, say_json, width
from dmvpn_agent.runtime.printable import printable
from dmvpn_agent.view.table import cells, hanging


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--probe", action="store_true", help="probe the path MTU to each peer too, for 4 s at most")


def run(arguments: Namespace) -> int:
    """Check this node and print the result; return the exit status. Raises ``ConfigError``."""
    logs.set_up_for_command()
    config = load(arguments.config)
    checks = check_node(asyncio.run(_inspect(config, arguments)), expected(config))
    if arguments.json:
        say_json("doctor/1", [dataclasses.asdict(check) for check in checks])
    else:
        say("\n".join(render(checks, width())))
    return Exit.DEGRADED if any(check.level is Level.FAULT for check in checks) else Exit.HEALTHY


async def _inspect(config: Config, arguments: Namespace) -> NodeView:
    node = await inspect(config)
    socket = arguments.socket or config.control_socket
    node = replace(node, running=await read_running(socket, arguments.config))
    if not arguments.probe:
        return node
    try:
        return await with_probes(node, config)
    except PermissionError:
        complain("dmvpn-agent: the paths are not probed: run the doctor as root")
    except OSError as error:
        complain(f"dmvpn-agent: the paths are not probed: {error}")
    return node


def render(checks: Sequence[Check], columns: int | None = None) -> Iterator[str]:
    """Yield the table of all checks, what to do about each fault and warning, and their numbers.

    What is too long for a terminal of ``columns`` is wrapped, except what to do: a command must stay one line to be
    copied.
    """
    words = {Level.OK: "ok", Level.WARNING: "warning", Level.FAULT: "FAULT"}
    rows = [("", "CHECK"), *((words[check.level], check.name) for check in checks)]
    texts = ["FOUND", *(printable(check.found) for check in checks)]
    for (level, name), text in zip(cells(rows[0], rows[1:]), texts, strict=True):
        yield from hanging(f"{level}  {name}  ", text, columns)
    for check in checks:
        if check.level is not Level.OK:
            yield ""
            yield printable(f"{words[check.level]}: {check.name}")
            yield from hanging("  found     ", printable(check.found), columns)
            yield from hanging("  expected  ", printable(check.expected), columns)
            yield printable(f"  do        {check.do}")
    count = Counter(check.level for check in checks)
    named = ((Level.FAULT, "fault"), (Level.WARNING, "warning"))
    found = ", ".join(f"{count[level]} {word}{'' if count[level] == 1 else 's'}" for level, word in named)
    yield f"\n{found}, {count[Level.OK]} ok"
