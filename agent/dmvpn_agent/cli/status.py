"""``status``: the state of the running agent."""

import asyncio
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmvpn_agent import __version__
from dmvpn_agent.cli.arguments import add_json, add_socket
from dmvpn_agent.config.file import load
from dmvpn_agent.runtime.control_socket import read_status
from dmvpn_agent.runtime.output import complain, say
from dmvpn_agent.runtime.printable import printable_values
from dmvpn_agent.view.status_text import status_text

#: The exceptions of a renderer whose state has another form than this version's.
OTHER_FORM = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(parser)
    add_socket(parser)


def run(arguments: Namespace) -> int:
    """Print the agent's state; return the exit status. Raises ``ConfigError``."""
    render = (lambda state: json.dumps(state, indent=2)) if arguments.json else _text
    return print_state(arguments.socket, arguments.config, render)


def _text(state: dict[str, Any]) -> str:
    return status_text(printable_values(state))


def print_state(socket: Path | None, config: Path, render: Callable[[dict[str, Any]], str]) -> int:
    """Print the agent's state as ``render`` returns it, or why there is none; return the exit status.

    Without a ``socket`` the path is that of the configuration. Raises ``ConfigError``.
    """
    path = socket or load(config).control_socket
    try:
        state = asyncio.run(read_status(path))
    except (OSError, TimeoutError, ValueError) as error:
        complain(f"dmvpn-agent: no status from {path}: {error}; is the agent running, and may you read the socket?")
        return 1
    try:
        text = render(state)
    except OTHER_FORM as error:
        complain(
            f"dmvpn-agent: the agent at {path} (version {state.get('version', 'unknown')!s:.40}) sent a status that"
            f" this program (version {__version__}) cannot read: {type(error).__name__} {error!s:.100};"
            " restart the agent, or use `status --json`"
        )
        return 1
    say(text)
    return 0
