"""``example``: the files that come with the program."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from dmvpn_agent.runtime.document import Code, Exit, RequestError
from dmvpn_agent.runtime.output import complain, say, say_file, say_json
from dmvpn_agent.setup.shipped import TOPICS, shipped

#: The part of each ``runbook_url`` that is the same in all.
_RUNBOOK = re.compile(r"(?<=runbook_url: )[^#\s]+")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("topic", choices=TOPICS, metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("file", nargs="?", metavar="FILE", help="one of the topic's files (default: all)")
    parser.add_argument("--runbook", type=_address, metavar="URL", help="where the alerts' runbook_url leads: the"
                        " address of your copy of docs/runbook.md (default: the package's)")  # fmt: skip
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write them there; existing files stay")


def _address(text: str) -> str:
    """Return a URL without a fragment. Raises ``ArgumentTypeError``."""
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s#\"'\\]+", text):
        raise ArgumentTypeError(f"{text!r} is no URL; expected one as https://wiki.example.net/dmvpn/runbook")
    return text


def run(arguments: Namespace) -> int:
    """Print or write the files; return the exit status. Raises ``RequestError``."""
    found = shipped(arguments.topic)
    if arguments.file is not None:
        if arguments.file not in found:
            raise RequestError(
                Code.USAGE, f"{arguments.topic} has no file {arguments.file!r:.80}; it has {', '.join(found)}"
            )
        found = {arguments.file: found[arguments.file]}
    if arguments.runbook is not None:
        found = {name: _RUNBOOK.sub(lambda _: arguments.runbook, text) for name, text in found.items()}
    if arguments.to is not None:
        return _write(arguments.to, found)
    if arguments.json:
        say_json("example/1", found)
    elif len(found) == 1:
        say_file("".join(found.values()).rstrip("\n"))
    else:
        say_file("\n\n".join(f"##### {name}\n{text.rstrip()}" for name, text in found.items()))
    return Exit.HEALTHY


def _write(folder: Path, found: dict[str, str]) -> int:
    """Write files that are not there yet. Raises ``RequestError``."""
    left = []
    for name, text in found.items():
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            left.append(name)
        except OSError as error:
            raise RequestError(Code.USAGE, f"{folder / name} cannot be written: {error.strerror}") from error
        else:
            say(str(folder / name))
    for name in left:
        complain(f"dmvpn-agent: {folder / name} is there already, and stays as it is")
    return Exit.DEGRADED if left else Exit.HEALTHY
