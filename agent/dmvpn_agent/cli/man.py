"""``man``: the man page, written from the parser."""

from argparse import Namespace
from collections.abc import Iterator

from dmvpn_agent import __version__
from dmvpn_agent.cli.grammar import Command, Option, commands, options
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.runtime.output import say_lines


def run(_: Namespace) -> int:
    """Print the page, for man(1); return the exit status."""
    from dmvpn_agent.cli.main import parser  # noqa: PLC0415  it imports this module

    top = parser()
    say_lines(page(commands(top), options(top), top.epilog or ""))
    return Exit.HEALTHY


def page(found: tuple[Command, ...], top: tuple[Option, ...], epilog: str) -> Iterator[str]:
    """Yield the lines of the page (roff, man(7))."""
    common = {option.names for option in top}
    yield f'.TH DMVPN-AGENT 8 "" "dmvpn-agent {__version__}" "DMVPN"'
    yield from (".SH NAME", r"dmvpn\-agent \- control plane of a Linux DMVPN node")
    yield from (".SH SYNOPSIS", r".B dmvpn\-agent", "[OPTIONS] [COMMAND] [ARGUMENTS]")
    yield from (".SH OPTIONS", "They may stand before or after the command.")
    for option in top:
        yield from _option(option)
    yield ".SH COMMANDS"
    for command in found:
        yield from _command(command, common)
    yield from (".SH EXIT STATUS", _text(epilog))
    yield from (".SH FILES", ".I /etc/dmvpn\\-agent/agent.toml", ".br", ".I /run/dmvpn\\-agent/control.sock", ".br")
    yield ".I /var/lib/dmvpn\\-agent"
    yield from (".SH SEE ALSO", ".BR swanctl (8),", ".BR nhrpd (8),", ".BR bgpd (8),", ".BR nft (8)")


def _command(command: Command, common: set[tuple[str, ...]], prefix: str = "") -> Iterator[str]:
    arguments = " ".join(argument.value for argument in command.arguments)
    yield from (".TP", f".B {_text(f'{prefix}{command.name} {arguments}'.strip())}", _text(command.help))
    own = [option for option in command.options if option.names not in common]
    if own or command.actions:
        yield ".RS"
        for option in own:
            yield from _option(option)
        for action in command.actions:
            yield from _command(action, common, f"{prefix}{command.name} ")
        yield ".RE"


def _option(option: Option) -> Iterator[str]:
    names = ", ".join(option.names) + (f" {option.value}" if option.value else "")
    yield from (".TP", f".B {_text(names)}", _text(option.help))


def _text(text: str) -> str:
    """Return a text on one line, without what roff would take for a request."""
    words = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{words}" if words.startswith((".", "'")) else words or "\\&"
