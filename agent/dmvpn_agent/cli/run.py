"""``run``: the agent."""

import asyncio
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from dmvpn_agent.app import AgentApp
from dmvpn_agent.config.file import load
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.descriptors import allow_many
from dmvpn_agent.serve import serve


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="record the events of nhrpd in FILE, for `replay`"
    )
    parser.add_argument("--dry-run", action="store_true", help="answer nhrpd, but change nothing in FRR, nftables and"
                        " charon; the log shows what the agent would change")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Run the agent until it is stopped; return the exit status. Raises ``ConfigError``."""
    allow_many()
    build = partial(AgentApp, record=arguments.record, dry_run=arguments.dry_run)
    with logs.running():
        return asyncio.run(serve(build, arguments.config, load))
