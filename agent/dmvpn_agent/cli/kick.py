"""``kick``: see ``action``."""

from dmvpn_agent.cli.action import add_arguments, on_peer

__all__ = ["add_arguments", "run"]

run = on_peer("kick")
