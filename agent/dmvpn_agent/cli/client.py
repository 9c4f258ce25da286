"""The commands' side of the control socket."""

import asyncio
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from dmvpn_agent import __version__
from dmvpn_agent.config.control import control_socket
from dmvpn_agent.runtime.control_client import TIMEOUT, ask
from dmvpn_agent.runtime.document import Code, Document, RequestError
from dmvpn_agent.runtime.output import say_document, say_painted, wants_colors
from dmvpn_agent.runtime.printable import printable_values

#: The exceptions of a reader whose data have another form than this version's.
OTHER_FORM = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def socket_path(arguments: Namespace) -> Path:
    """Return the control socket. Raises ``ConfigError``."""
    given: Path | None = arguments.socket
    return given or control_socket(arguments.config)


def request(arguments: Namespace, command: str, **values: Any) -> Document:
    """Return the running agent's answer. Raises ``RequestError`` and ``ConfigError``."""
    path = socket_path(arguments)
    try:
        answer = asyncio.run(ask(path, command, {key: value for key, value in values.items() if value is not None}))
    except (OSError, TimeoutError, ValueError) as error:
        require_valid(arguments)
        raise no_answer(path, error) from error
    if answer["ok"] is not True:
        raise refusal(answer)
    return answer


def require_valid(arguments: Namespace) -> None:
    """Raise ``ConfigError`` if the configuration that names the socket is invalid: no agent runs by it."""
    if not arguments.socket:
        import_module("dmvpn_agent.config.file").load(arguments.config)


def no_answer(path: Path, error: Exception) -> RequestError:
    """Return why the agent did not answer."""
    why = f"it did not answer within {TIMEOUT:g} s" if isinstance(error, TimeoutError) else str(error)
    if isinstance(error, FileNotFoundError):
        why = "there is no such socket"
    return RequestError(
        Code.UNREACHABLE, f"no answer from {path}: {why}; is the agent running, and may you open its socket?"
    )


def refusal(answer: Document) -> RequestError:
    """Return the failure that an answer is."""
    error = answer["error"] if isinstance(answer["error"], dict) else {}
    word = error.get("code")
    code = Code(word) if word in set(Code) else Code.FAILED
    return RequestError(code, str(error.get("message", "the agent gave no reason")))


def show(arguments: Namespace, answer: Document, text: Callable[[Any], str]) -> None:
    """Print an answer: as JSON, or as ``text`` renders its data, in which all texts are printable."""
    if arguments.json:
        say_document(answer)
    else:
        say_painted(text(printable_values(answer["data"])), colors=wants_colors(refused=arguments.no_color))


def reads_answers(command: Callable[[Namespace], int]) -> Callable[[Namespace], int]:
    """Return a command that raises ``RequestError`` if an answer has another form than it reads."""

    @wraps(command)
    def run(arguments: Namespace) -> int:
        try:
            return command(arguments)
        except OTHER_FORM as error:
            raise RequestError(
                Code.FAILED,
                f"the agent's answer has another form than this program (version {__version__}) knows:"
                f" {type(error).__name__} {error!s:.100}; restart the agent, or use --json",
            ) from error

    return run
