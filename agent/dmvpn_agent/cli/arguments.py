"""Arguments that several commands have."""

from argparse import ArgumentParser
from pathlib import Path


def add_json(parser: ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_socket(parser: ArgumentParser) -> None:
    """Add ``--socket``."""
    parser.add_argument("--socket", type=Path, metavar="PATH", help="control socket (default: control_socket of the"
                        " configuration)")  # fmt: skip
