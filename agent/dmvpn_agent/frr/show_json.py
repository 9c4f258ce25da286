"""The JSON output of FRR's show commands."""

from typing import Any

from dmvpn_agent.runtime import json_values as typed


class FrrFormatError(Exception):
    """Unexpected output of FRR."""


#: What reading a malformed value raises.
MALFORMED = (KeyError, AttributeError, TypeError, ValueError)


def raise_format_error(why: str) -> None:
    """Raise ``FrrFormatError``: the parsers' default for a row that they cannot read."""
    raise FrrFormatError(why)


def json_object(text: str, command: str) -> dict[str, Any]:
    """Return the JSON object that a command printed. Raises ``FrrFormatError``."""
    try:
        value = typed.document(text)
    except ValueError as error:
        raise FrrFormatError(f"{command} printed no JSON: {text[:200]!r}") from error
    if not isinstance(value, dict):
        raise FrrFormatError(f"{command} printed no JSON object")
    return value
