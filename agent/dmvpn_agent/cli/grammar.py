"""The commands and their options as values, read from the parser: for completion and the man page."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """``names``: as typed. ``value``: the name of its value, empty for a switch. ``choices``: what that may be.

    ``repeats``: it may be given several times.
    """

    names: tuple[str, ...]
    help: str
    value: str = ""
    choices: tuple[str, ...] = ()
    repeats: bool = False

    @property
    def takes_path(self) -> bool:
        """Tell whether its value is the name of a file or folder."""
        return self.value in {"FILE", "PATH", "FOLDER", "CERT", "RECORDING", "BUNDLE"}


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or an action of one. ``arguments``: those without a name, in order."""

    name: str
    help: str
    usage: str
    options: tuple[Option, ...]
    arguments: tuple[Option, ...]
    actions: tuple["Command", ...] = ()


def whole(parser: argparse.ArgumentParser) -> Command:
    """Return the program as a command without a name, whose actions are the commands."""
    return Command("", "", "", options(parser), (), commands(parser))


def places(command: Command, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Command]]:
    """Yield a command and all actions below it, each with the words that lead there."""
    yield " ".join(before), command
    for action in command.actions:
        yield from places(action, (*before, action.name))


def commands(parser: argparse.ArgumentParser) -> tuple[Command, ...]:
    """Return all commands, each with its arguments. Imports the module of each."""
    return tuple(_command(name, help_text, sub) for name, help_text, sub in _subparsers(parser))


def options(parser: argparse.ArgumentParser) -> tuple[Option, ...]:
    """Return the options of a parser."""
    return tuple(_option(action) for action in parser._actions if action.option_strings)


def _command(name: str, help_text: str, parser: argparse.ArgumentParser) -> Command:
    load = getattr(parser, "load", None)
    if load is not None:
        load()
    return Command(
        name,
        help_text,
        " ".join(parser.format_usage().removeprefix("usage: ").split()),
        options(parser),
        tuple(
            _option(action)
            for action in parser._actions
            if not action.option_strings and not isinstance(action, argparse._SubParsersAction)
        ),
        tuple(_command(*one) for one in _subparsers(parser)),
    )


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, sub in action.choices.items():
                yield name, helps.get(name, ""), sub


def _option(action: argparse.Action) -> Option:
    takes_value = action.nargs != 0
    choices = tuple(str(one) for one in action.choices) if action.choices else ()
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    text = action.help or ""
    for name, shown in (("default", action.default), ("choices", ", ".join(choices))):
        text = text.replace(f"%({name})s", str(shown)).replace(f"%({name})g", str(shown))
    repeats = isinstance(action, argparse._AppendAction) or action.nargs in {"*", "+"}
    names, value = tuple(action.option_strings), metavar if takes_value else ""
    return Option(names, text.replace("%%", "%"), value, choices, repeats)
