"""Without a command: a short status, and where to go on."""

from argparse import Namespace

from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.cli.commands import COMMANDS
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.runtime.document import Exit, RequestError
from dmvpn_agent.runtime.output import complain, say, width
from dmvpn_agent.view.status_text import overview_text


@reads_answers
def run(arguments: Namespace) -> int:
    """Print a short status and the commands; return the exit status of ``status``."""
    try:
        answer = request(arguments, "status")
    except (ConfigError, RequestError) as error:
        if arguments.json:
            raise
        complain(f"dmvpn-agent: {error}")
        say(_commands())
        return Exit.CONFIGURATION if isinstance(error, ConfigError) else error.code.exit
    show(arguments, answer, lambda state: overview_text(state, width()))
    if not arguments.json:
        say("\n" + _commands())
    return Exit.DEGRADED if answer["data"].get("degraded") else Exit.HEALTHY


def _commands() -> str:
    return "\n".join(
        f"  dmvpn-agent {name:12} {text.partition('.')[0].partition(':')[0]}" for name, text in COMMANDS.items()
    )
