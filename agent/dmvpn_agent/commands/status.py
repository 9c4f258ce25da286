"""``status``: what the running agent says of itself."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from dmvpn_agent import show
from dmvpn_agent.adapters.control import read_status
from dmvpn_agent.config import load


def run(socket: Path | None, config: Path, as_json: bool) -> int:
    """Print the state of the agent behind a control socket; return the exit status. Raises ``ConfigError``."""
    if (state := ask(socket, config)) is None:
        return 1
    print(json.dumps(state, indent=2) if as_json else show.status(state))
    return 0


def ask(socket: Path | None, config: Path) -> dict[str, Any] | None:
    """Return the state, or say on standard error why there is none. Raises ``ConfigError``."""
    path = socket or load(config).control_socket
    try:
        return asyncio.run(read_status(path))
    except (OSError, TimeoutError, ValueError) as error:
        print(f"dmvpn-agent: no status from {path}: {error}; is the agent running, and may you read the socket?",
              file=sys.stderr)  # fmt: skip
        return None
