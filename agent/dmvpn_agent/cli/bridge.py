"""``bridge``: the bridge between nhrpd and an unpatched strongSwan."""

import asyncio
from argparse import ArgumentParser, Namespace
from functools import partial

from dmvpn_agent.bridge.handover import take_over
from dmvpn_agent.bridge_app import BridgeApp
from dmvpn_agent.config.file import load
from dmvpn_agent.runtime import logs
from dmvpn_agent.runtime.descriptors import allow_many
from dmvpn_agent.serve import serve


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--preflight", action="store_true", help="only load the program and its configuration")


def run(arguments: Namespace) -> int:
    """Run the bridge until it is stopped; return the exit status. Raises ``ConfigError``."""
    if arguments.preflight:
        BridgeApp(load(arguments.config), None)
        return 0
    allow_many()
    handed = take_over()  # before anything opens a descriptor
    with logs.running():
        return asyncio.run(serve(partial(BridgeApp, handed=handed), arguments.config, load))
