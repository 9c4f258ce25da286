"""Without a command: a short status, and where to go on."""

from argparse import Namespace
from datetime import UTC, datetime

from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.runtime.document import Exit, RequestError
from dmvpn_agent.runtime.output import complain, say, width
from dmvpn_agent.view.status_text import overview_text


@reads_answers
def run(arguments: Namespace) -> int:
    """Print a short status and what to type next; return the exit status of ``status``."""
    try:
        answer = request(arguments, "status")
    except (ConfigError, RequestError) as error:
        if arguments.json:
            raise
        complain(f"dmvpn-agent: {error}")
        say(_commands())
        return Exit.CONFIGURATION if isinstance(error, ConfigError) else error.code.exit
    show(arguments, answer, lambda state: overview_text(state, datetime.now(UTC), width()))
    if not arguments.json:
        say("\n" + _commands())
    return Exit.DEGRADED if answer["data"].get("degraded") else Exit.HEALTHY


#: What to type next: few enough that the status stays on a terminal of 24 lines.
_NEXT = {
    "peers --down": "which peers are not up, and where each is stuck",
    "peer NAME": "why one peer is not up, and what to do",
    "doctor": "what is wrong with this node, and what to do",
    "history": "what happened, and when",
    "--help": "all commands",
}


def _commands() -> str:
    return "\n".join(f"  dmvpn-agent {words:12}  {text}" for words, text in _NEXT.items())
