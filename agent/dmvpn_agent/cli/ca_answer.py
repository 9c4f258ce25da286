"""What all actions of ``ca`` share: the registry, the passphrase, the output."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dmvpn_agent.ca.block import parse_as_range, parse_network
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.passphrase import PassphraseSource, read_passphrase
from dmvpn_agent.cli.arguments import add_json, typed

DEFAULT_DATABASE = "/var/lib/dmvpn-ca/registry.sqlite"
ENVIRONMENT = "DMVPN_CA_DATABASE"


class Answer(NamedTuple):
    """What an action did: as values for JSON, and as lines for people."""

    data: dict[str, Any]
    lines: Iterable[str]


Action = Callable[[Namespace], Answer]


def add_common(parser: ArgumentParser, action: Action) -> None:
    """Add what every action has."""
    parser.set_defaults(action=action, parser=parser)
    add_json(parser)
    parser.add_argument(
        "--database", metavar="PLACE", default=os.environ.get(ENVIRONMENT, DEFAULT_DATABASE),
        help=f"a file, or postgresql://USER@HOST/NAME (default: ${ENVIRONMENT}, or {DEFAULT_DATABASE})",
    )  # fmt: skip


def add_passphrase(parser: ArgumentParser) -> None:
    """Add where the passphrase is."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--passphrase-file", type=Path, metavar="FILE",
                       help="the passphrase of the CA's key is the first line of FILE (default: the credential"
                       " `ca-passphrase`, or what you type)")  # fmt: skip
    where.add_argument("--passphrase-fd", type=int, metavar="NUMBER", help="the same, from an open file descriptor")


def database_of(arguments: Namespace) -> Database:
    """Return the registry that the arguments name. Raises ``CaError``."""
    return Database(arguments.database)


def passphrase_of(arguments: Namespace, *, twice: bool = False) -> bytes:
    """Return the passphrase. Raises ``CaError``."""
    return read_passphrase(PassphraseSource(arguments.passphrase_fd, arguments.passphrase_file), twice=twice)


def _as_number(text: str) -> int:
    low, high = parse_as_range(text)
    if low != high:
        raise ValueError
    return low


#: The types of arguments.
network = typed(parse_network, "a network without host bits, such as 10.1.0.0/16")
as_range = typed(parse_as_range, "a range of AS numbers, such as 64512-65534")
as_number = typed(_as_number, "an AS number from 1 to 4294967294")
