"""``ca``: the certificate authority. Each action is in a module ``ca_…``."""

from argparse import ArgumentParser, Namespace

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.cli import ca_crl, ca_init, ca_nodes, ca_show
from dmvpn_agent.cli.ca_answer import to_json
from dmvpn_agent.runtime.output import complain, say, say_lines

EXIT_DONE, EXIT_REFUSED = 0, 1


def add_arguments(parser: ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for module in (ca_init, ca_nodes, ca_show, ca_crl):
        module.add_actions(actions)


def run(arguments: Namespace) -> int:
    """Run one action; return 0 if it is done, 1 if it was refused, and then nothing was changed."""
    try:
        answer = arguments.action(arguments)
    except CaError as error:
        if arguments.json:
            say(to_json(None, str(error)))
        else:
            complain(f"dmvpn-agent: {error}")
        return EXIT_REFUSED
    if arguments.json:
        say(to_json(answer.data))
    else:
        say_lines(answer.lines)
    return EXIT_DONE
