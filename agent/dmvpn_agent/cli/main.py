"""The command line: the parser, and the dispatch to one module for each command.

Only the module of the command in use is imported: ``status`` during an outage should not wait for pyroute2.
"""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from dmvpn_agent import __version__
from dmvpn_agent.cli.commands import COMMANDS
from dmvpn_agent.config.table import ConfigError
from dmvpn_agent.runtime.descriptors import open_standard_ones
from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import OutputError, complain, discard, report_failure, say_usage

DEFAULT_CONFIG = Path("/etc/dmvpn-agent/agent.toml")
#: The environment variable that names the configuration file.
CONFIG_VARIABLE = "DMVPN_AGENT_CONFIG"
EPILOG = (
    "Exit status: 0 healthy or done; 1 degraded, denied, different or failed; 2 wrong usage; 3 a daemon cannot be"
    " reached; 4 no such peer; 78 the configuration is invalid. Options may stand before or after the command."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (``EPILOG``)."""
    open_standard_ones()
    if not sys.warnoptions:  # deprecation warnings of libraries are for developers, who ask for them with -W
        warnings.simplefilter("ignore")
    words = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in words
    try:
        arguments = parser().parse_args(words)
        if arguments.command is None:
            arguments.command = import_module("dmvpn_agent.cli.overview").run
        return int(arguments.command(arguments))
    except ConfigError as error:
        return _failed(Code.CONFIGURATION, str(error), as_json)
    except UsageError as error:
        if not as_json:
            say_usage(error.usage)
        return _failed(error.code, str(error), as_json)
    except RequestError as error:
        return _failed(error.code, str(error), as_json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as in `status | head`
        discard(sys.stdout)
        return 0
    except OutputError as error:
        discard(sys.stdout)
        complain(f"dmvpn-agent: cannot write to standard output: {error}")
        return Exit.DEGRADED


def _failed(code: Code, message: str, as_json: bool) -> int:
    try:
        report_failure(code, message, as_json)
    except (OSError, OutputError):
        discard(sys.stdout)
    return code.exit


class UsageError(RequestError):
    """The words of a command line make no command; ``usage``: what would."""

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(Code.USAGE, message)
        self.usage = usage


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors."""

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError``, with the word that was probably meant, or those that are possible."""
        raise UsageError(message + self._hint(message), self.format_usage())

    def _hint(self, message: str) -> str:
        word = re.search(r"invalid choice: '([^']*)'|unrecognized arguments: (\S+)", message)
        close = get_close_matches((word[1] or word[2]).partition("=")[0], self._words(), 1) if word else []
        if close:
            return f"; did you mean {close[0]}?"
        missing = message.removeprefix("the following arguments are required: ")
        possible = next((action.choices for action in self._actions if action.metavar == missing), None)
        return f": {', '.join(map(str, possible))}" if possible else ""

    def _words(self) -> Iterator[str]:
        """Yield all words that this parser knows: its options, and the choices of its arguments."""
        for action in self._actions:
            yield from action.option_strings
            yield from map(str, action.choices or ())

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words; the parser of the command in use reports those that it does not know."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            getattr(parsed, "parser", self).error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed


class _Command(_Parser):
    """The parser of one command, which imports the command's module when it is used."""

    def __init__(self, *, command: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._command = command
        self._loaded = False

    def load(self) -> None:
        """Add the command's arguments."""
        if self._loaded:
            return
        self._loaded = True
        add_common(self)
        module = import_module(f"dmvpn_agent.cli.{self._command.replace('-', '_')}")
        self.set_defaults(command=module.run, parser=self)
        if hasattr(module, "add_arguments"):
            module.add_arguments(self)

    def add_subparsers(self, **options: Any) -> Any:
        """Add actions of the command."""
        return super().add_subparsers(**{"parser_class": _Parser, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the words after the command's name."""
        self.load()
        return super().parse_known_args(args, namespace)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(prog="dmvpn-agent", description="Control plane of a Linux DMVPN node. Without a command: a short"
                  " status.", epilog=EPILOG)  # fmt: skip
    top.add_argument("--version", action="version", version=f"dmvpn-agent {__version__}")
    add_common(top)
    top.set_defaults(
        command=None,
        config=Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG),
        json=False,
        no_color=False,
        socket=None,
    )
    commands = top.add_subparsers(metavar="COMMAND", parser_class=_Command)
    for name, text in COMMANDS.items():
        commands.add_parser(name, command=name, help=text, description=text, epilog=EPILOG)
    return top


def add_common(to: argparse.ArgumentParser) -> None:
    """Add the options that every command has; they may stand before the command too."""
    suppress = argparse.SUPPRESS
    to.add_argument("-c", "--config", type=Path, default=suppress, metavar="FILE",
                    help=f"configuration file (default: ${CONFIG_VARIABLE}, or {DEFAULT_CONFIG})")  # fmt: skip
    to.add_argument("--json", action="store_true", default=suppress, help="print one JSON document, errors too")
    to.add_argument("--no-color", action="store_true", default=suppress, help="print no colors (also: $NO_COLOR)")
    to.add_argument("--socket", type=Path, default=suppress, metavar="PATH",
                    help="control socket (default: control_socket of the configuration)")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
