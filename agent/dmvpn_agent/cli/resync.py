"""``resync``: see ``action``."""

from dmvpn_agent.cli.action import on_node

run = on_node("resync")
