"""Values out of JSON that somebody else may have written, each of the type it must have; ``TypeError`` otherwise."""

from collections.abc import Mapping
from typing import Any


def text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def boolean(value: object) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is no boolean")
    return value


def integer(value: object) -> int:
    """Return a number; JSON's booleans are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is no number")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object's members."""
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} is no object")
    return value
