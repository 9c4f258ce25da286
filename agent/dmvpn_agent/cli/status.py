"""``status``: what the running agent says of itself."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmvpn_agent import __version__
from dmvpn_agent.config.file import load
from dmvpn_agent.runtime.control_socket import read_status
from dmvpn_agent.runtime.output import complain, say
from dmvpn_agent.runtime.printable import printable_values
from dmvpn_agent.view.status_text import status_text

#: What is raised by reading an answer that is not of the form this program knows.
OTHER_FORM = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def run(socket: Path | None, config: Path, as_json: bool) -> int:
    """Print the state of the agent behind a control socket; return the exit status. Raises ``ConfigError``."""
    return tell(socket, config, (lambda state: json.dumps(state, indent=2)) if as_json else _text)


def _text(state: dict[str, Any]) -> str:
    return status_text(printable_values(state))


def tell(socket: Path | None, config: Path, render: Callable[[dict[str, Any]], str]) -> int:
    """Print what ``render`` makes of the agent's state, or say why there is none; return the exit status.

    Raises ``ConfigError``.
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
            f"dmvpn-agent: the agent at {path} (version {state.get('version', 'unknown')!s:.40}) answers in a form"
            f" that this program (version {__version__}) does not know: {type(error).__name__} {error!s:.100};"
            " restart the agent, or look at `status --json`"
        )
        return 1
    say(text)
    return 0
