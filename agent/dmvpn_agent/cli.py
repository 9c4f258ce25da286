"""The commands."""

import argparse
import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dmvpn_agent import __version__, show
from dmvpn_agent.adapters.control import read_status
from dmvpn_agent.config import load
from dmvpn_agent.config_values import ConfigError

DEFAULT_CONFIG = Path("/etc/dmvpn-agent/agent.toml")
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 wrong usage, 78 invalid configuration."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        print(f"dmvpn-agent: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as in `status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dmvpn-agent", description="Control plane of a Linux DMVPN node.")
    parser.add_argument("--version", action="version", version=f"dmvpn-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE",
                             help="configuration file (default: %(default)s)")  # fmt: skip
        return command

    add("run", _run, "Run the agent.")
    add("bridge", _bridge, "Run the bridge between nhrpd and an unpatched strongSwan.")
    for name, function, text in (
        ("check", _check, "Validate a configuration and print what would be done with it."),
        ("status", _status, "Show peers, decisions and what is in force, of the running agent."),
    ):
        command = add(name, function, text)
        command.add_argument("--json", action="store_true", help="print JSON")
        if name == "status":
            command.add_argument(
                "--socket", type=Path, metavar="PATH", help="control socket (default: as configured)"
            )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # Each command loads only what it needs: a status at 3 a.m. should not wait for pyroute2.
    from dmvpn_agent.app import AgentApp  # noqa: PLC0415
    from dmvpn_agent.serve import serve  # noqa: PLC0415

    return asyncio.run(serve(AgentApp, arguments.config))


def _bridge(arguments: argparse.Namespace) -> int:
    from dmvpn_agent.bridge_app import BridgeApp  # noqa: PLC0415
    from dmvpn_agent.serve import serve  # noqa: PLC0415

    return asyncio.run(serve(BridgeApp, arguments.config))


def _check(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    if arguments.json:
        print(json.dumps({"valid": True, "configuration": dataclasses.asdict(config)}, default=str, indent=2))
    else:
        print(show.configuration(config))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    path = arguments.socket or load(arguments.config).control_socket
    try:
        state = asyncio.run(read_status(path))
    except (OSError, TimeoutError, ValueError) as error:
        print(f"dmvpn-agent: no status from {path}: {error}; is the agent running, and may you read the socket?",
              file=sys.stderr)  # fmt: skip
        return 1
    print(json.dumps(state, indent=2) if arguments.json else show.status(state))
    return 0


if __name__ == "__main__":
    sys.exit(main())
