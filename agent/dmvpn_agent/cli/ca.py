"""``ca``: the certificate authority. Each action is in a module ``ca_…``."""

import sys
from argparse import ArgumentParser, Namespace
from importlib import import_module
from pathlib import Path

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import say_json, say_lines

_MODULES = ("ca_init", "ca_nodes", "ca_show", "ca_crl", "ca_issue", "ca_serve", "ca_keep")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    try:
        for name in _MODULES:
            import_module(f"dmvpn_agent.cli.{name}").add_actions(actions)
    except ModuleNotFoundError as error:  # nodes do not need it
        pip = Path(sys.prefix, "bin/pip")
        parser.error(f"{error.name} is not installed: run {pip} install '.[ca]' in the checkout, or on Alpine apk add"
                     " py3-sqlalchemy py3-alembic")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Run one action; return the exit status. Raises ``RequestError`` if it was refused, and nothing was changed."""
    try:
        answer = arguments.action(arguments)
    except CaError as error:
        raise RequestError(Code.REFUSED, str(error)) from error
    if arguments.json:
        say_json("ca/1", answer.data)
    else:
        say_lines(answer.lines)
    return Exit.HEALTHY
