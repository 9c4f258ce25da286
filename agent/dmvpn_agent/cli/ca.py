"""``ca``: the certificate authority. Each action is in a module ``ca_…``."""

from argparse import ArgumentParser, Namespace
from importlib import import_module

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.runtime.output import complain, say, say_lines

_MODULES = ("ca_init", "ca_nodes", "ca_show", "ca_crl", "ca_keep")

EXIT_DONE, EXIT_REFUSED = 0, 1


def add_arguments(parser: ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    try:
        for name in _MODULES:
            import_module(f"dmvpn_agent.cli.{name}").add_actions(actions)
    except ModuleNotFoundError as error:  # nodes do not need it
        parser.error(f"{error.name} is not installed: install dmvpn-agent[ca], or on Alpine py3-sqlalchemy and"
                     " py3-alembic")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Run one action; return 0 if it is done, 1 if it was refused, and then nothing was changed."""
    from dmvpn_agent.cli.ca_answer import to_json  # noqa: PLC0415  needs what may be missing

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
