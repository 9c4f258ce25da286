"""What FRR's commands print, as far as it is JSON."""

from typing import Any

from dmvpn_agent.runtime import json_values as typed


class FrrFormatError(Exception):
    """FRR printed something that is not in the form this program knows."""


_REFUSED = (KeyError, AttributeError, TypeError, ValueError)


def _raise(why: str) -> None:
    raise FrrFormatError(why)


def _object(text: str, command: str) -> dict[str, Any]:
    try:
        value = typed.document(text)
    except ValueError as error:
        raise FrrFormatError(f"{command} printed no JSON: {text[:200]!r}") from error
    if not isinstance(value, dict):
        raise FrrFormatError(f"{command} printed no JSON object")
    return value
