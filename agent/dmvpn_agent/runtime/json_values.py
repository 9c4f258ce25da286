"""Values out of JSON that somebody else may have written, each of the type it must have; ``TypeError`` otherwise."""

import json
from collections.abc import Mapping
from typing import Any


def document(data: str | bytes | bytearray) -> object:
    """Return the value that a JSON document is.

    Raises ``ValueError``, for one nested deeper than Python goes too.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def brief(value: object, longest: int = 40) -> str:
    """Return the beginning of a value's representation; nothing of a value that is nested too deep to have one."""
    try:
        return repr(value)[:longest]
    except RecursionError:
        return "what is nested too deep"


def text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{brief(value)} is no text")
    return value


def boolean(value: object) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise TypeError(f"{brief(value)} is no boolean")
    return value


def integer(value: object) -> int:
    """Return a number; JSON's booleans are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{brief(value)} is no number")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object's members."""
    if not isinstance(value, dict):
        raise TypeError(f"{brief(value)} is no object")
    return value


def items(value: object) -> list[Any]:
    """Return an array's items."""
    if not isinstance(value, list):
        raise TypeError(f"{brief(value)} is no array")
    return value
