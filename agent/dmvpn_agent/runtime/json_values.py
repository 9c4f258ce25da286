"""Values from JSON of other programs, each checked for its type; ``TypeError`` if it has another one."""

import json
from collections.abc import Mapping
from typing import Any


def document(data: str | bytes | bytearray) -> object:
    """Return the value of a JSON document.

    Raises ``ValueError``, also if the document is nested deeper than Python can read.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def brief(value: object, longest: int = 40) -> str:
    """Return the first characters of a value's representation."""
    try:
        return repr(value)[:longest]
    except RecursionError:
        return "a value nested too deep"


def text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{brief(value)} is not a text")
    return value


def boolean(value: object) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise TypeError(f"{brief(value)} is not a boolean")
    return value


def integer(value: object) -> int:
    """Return an integer; a JSON boolean is not one."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{brief(value)} is not an integer")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object's members."""
    if not isinstance(value, dict):
        raise TypeError(f"{brief(value)} is not an object")
    return value


def items(value: object) -> list[Any]:
    """Return an array's items."""
    if not isinstance(value, list):
        raise TypeError(f"{brief(value)} is not an array")
    return value
