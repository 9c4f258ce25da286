"""``status``: the state of the node."""

from argparse import Namespace
from datetime import UTC, datetime

from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import width
from dmvpn_agent.view.status_text import status_text


@reads_answers
def run(arguments: Namespace) -> int:
    """Print the state; return the exit status. Raises ``RequestError`` and ``ConfigError``."""
    answer = request(arguments, "status")
    show(arguments, answer, lambda state: status_text(state, datetime.now(UTC), width()))
    return Exit.DEGRADED if answer["data"].get("degraded") else Exit.HEALTHY
