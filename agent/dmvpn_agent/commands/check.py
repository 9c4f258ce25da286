"""``check``: whether a configuration is valid, and what would be done with it."""

import dataclasses
import json
from pathlib import Path

from dmvpn_agent import show
from dmvpn_agent.config import load
from dmvpn_agent.output import say


def run(file: Path, as_json: bool) -> int:
    """Print a configuration; return the exit status. Raises ``ConfigError``."""
    config = load(file)
    if as_json:
        say(json.dumps({"valid": True, "configuration": dataclasses.asdict(config)}, default=str, indent=2))
    else:
        say(show.configuration(config))
    return 0
