"""The commands that change something in the running agent: ``kick``, ``quarantine``, ``release``, ``forget``,
``reload`` and ``resync``."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from dmvpn_agent.cli.arguments import add_peer
from dmvpn_agent.cli.client import reads_answers, request, show
from dmvpn_agent.runtime.document import Exit
from dmvpn_agent.view.spans import counted

_UNSTORED = ". NOT STORED: a restart of the agent undoes it; is the disk of the state directory full, or read-only?"


def _kept(data: dict[str, Any], text: str) -> str:
    """Return a text with a warning if what was done does not survive a restart; an older agent does not tell."""
    return text if data.get("stored", True) else text + _UNSTORED


_DONE: dict[str, Callable[[dict[str, Any]], str]] = {
    "kick": lambda data: f"{data['peer']}: {counted(data['ended'], 'IKE_SA')} ended",
    "quarantine": lambda data: _kept(
        data, f"{data['peer']} is in quarantine: it gets no BGP neighbor until `release`"
    ),
    "release": lambda data: _kept(data, f"{data['peer']} is released"),
    "forget": lambda data: f"{data['peer']} is forgotten",
    "reload": lambda data: "the configuration is in force",
    "resync": lambda data: "the agent reads its daemons again",
}


def on_peer(command: str) -> Callable[[Namespace], int]:
    """Return the function that runs a command about one peer."""

    @reads_answers
    def run(arguments: Namespace) -> int:
        return _run(arguments, command, peer=arguments.peer)

    return run


def on_node(command: str) -> Callable[[Namespace], int]:
    """Return the function that runs a command about the node."""

    @reads_answers
    def run(arguments: Namespace) -> int:
        return _run(arguments, command)

    return run


def _run(arguments: Namespace, command: str, **values: Any) -> int:
    """Have the agent do it; return the exit status. Raises ``RequestError`` and ``ConfigError``."""
    show(arguments, request(arguments, command, **values), _DONE[command])
    return Exit.HEALTHY


def add_arguments(parser: ArgumentParser) -> None:
    """Add the argument of a command about one peer."""
    add_peer(parser)
