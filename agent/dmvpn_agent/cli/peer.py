"""``peer``: one peer, stage by stage."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from dmvpn_agent.cli.arguments import add_peer
from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import width
from dmvpn_agent.view.peers_text import peer_text
from dmvpn_agent.view.stage import Stage


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_peer(parser)


@reads_answers
def run(arguments: Namespace) -> int:
    """Print a peer; return 1 if it is not up. Raises ``RequestError`` and ``ConfigError``."""
    answer = request(arguments, "peer", peer=arguments.peer)
    show(arguments, answer, lambda data: peer_text(data, datetime.now(UTC), width()))
    return Exit.HEALTHY if answer["data"]["peer"]["stage"] == Stage.UP else Exit.DEGRADED
