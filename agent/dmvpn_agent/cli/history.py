"""``history``: what was decided, changed and seen."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from dmvpn_agent.cli.arguments import add_peer, since
from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import width
from dmvpn_agent.view.peers_text import history_text


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_peer(parser, optional=True)
    parser.add_argument("--since", type=since, metavar="TIME", help="only later entries: 2h, 3d, or ISO 8601")
    parser.add_argument("--denied", action="store_true", help="only denials")
    parser.add_argument("--limit", type=_limit, metavar="N", help="at most the N newest entries (default: 1000)")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 100_000):
        raise ArgumentTypeError(f"{text!r} is no number of entries; expected 1 to 100000")
    return int(text)


@reads_answers
def run(arguments: Namespace) -> int:
    """Print the entries; return the exit status. Raises ``RequestError`` and ``ConfigError``."""
    answer = request(
        arguments,
        "history",
        peer=arguments.peer,
        since=arguments.since.isoformat() if arguments.since else None,
        denied=arguments.denied or None,
        limit=arguments.limit,
    )
    show(arguments, answer, lambda data: history_text(data["entries"], width()))
    return Exit.HEALTHY
