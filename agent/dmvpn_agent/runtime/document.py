"""The form of every JSON document that a command prints or the control socket sends.

``{"schema": "peers/1", "ok": true, "error": null, "data": …}``. The number in ``schema`` grows when a key changes its
meaning or disappears; new keys do not change it. If ``ok`` is false, ``data`` is null and ``error`` has ``code``, one
of ``Code``, and ``message``, for people.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

from dmvpn_agent.runtime.json_values import document as read_json

Document = dict[str, Any]


class Exit(IntEnum):
    """The exit statuses of all commands."""

    HEALTHY = 0
    #: Something is degraded, denied or different; or the command failed.
    DEGRADED = 1
    USAGE = 2
    UNREACHABLE = 3
    NO_PEER = 4
    CONFIGURATION = 78  # EX_CONFIG of sysexits.h


class Code(StrEnum):
    """Why there is no data."""

    #: The words of the command, or a file or text that they name, cannot be used.
    USAGE = "usage"
    #: A daemon, or a file of the agent's, cannot be read.
    UNREACHABLE = "unreachable"
    NO_SUCH_PEER = "no_such_peer"
    #: Several peers have the name.
    AMBIGUOUS = "ambiguous"
    #: The user may look, but not change.
    NOT_ALLOWED = "not_allowed"
    #: The request makes no sense in the present state.
    REFUSED = "refused"
    CONFIGURATION = "configuration"
    #: An unexpected failure; the log has it.
    FAILED = "failed"

    @property
    def exit(self) -> Exit:
        """Return the exit status of a command that fails with it."""
        return _EXITS.get(self, Exit.DEGRADED)


_EXITS: Mapping[Code, Exit] = {
    Code.USAGE: Exit.USAGE,
    Code.UNREACHABLE: Exit.UNREACHABLE,
    Code.NO_SUCH_PEER: Exit.NO_PEER,
    Code.AMBIGUOUS: Exit.NO_PEER,
    Code.CONFIGURATION: Exit.CONFIGURATION,
}


class RequestError(Exception):
    """A command or a request that cannot be served; the text says why, and what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def document(schema: str, data: Any) -> Document:
    """Return a document with data. ``schema``: the name of its form, with its version: ``peers/1``."""
    return {"schema": schema, "ok": True, "error": None, "data": data}


def failure(schema: str, code: Code, message: str) -> Document:
    """Return a document without data."""
    return {"schema": schema, "ok": False, "error": {"code": str(code), "message": message}, "data": None}


def read_document(sender: object, text: bytes | bytearray) -> Document:
    """Return the document that another process sent. Raises ``ValueError``."""
    found = read_json(text)
    if not isinstance(found, dict) or found.keys() != {"schema", "ok", "error", "data"}:
        raise ValueError(f"{sender} sent no answer of this form; is it an agent of another version? Restart it")
    return found
