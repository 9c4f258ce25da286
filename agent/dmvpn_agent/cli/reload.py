"""``reload``: the running agent reads its configuration again."""

from argparse import Namespace

from dmvpn_agent.cli.action import on_node
from dmvpn_agent.config.file import load


def run(arguments: Namespace) -> int:
    """Check the configuration, and have the agent read it; return the exit status.

    Raises ``RequestError`` and ``ConfigError``.
    """
    load(arguments.config)  # its error names the key, for the operator who changed it
    return on_node("reload")(arguments)
