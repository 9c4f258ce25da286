"""The JSON output of FRR's show commands."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

from dmvpn_agent.addresses import Address
from dmvpn_agent.runtime import json_values as typed

V = TypeVar("V")


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


def table_rows(
    text: str,
    command: str,
    read: Callable[[Mapping[str, Any]], V],
    skip: Callable[[str], None] = raise_format_error,
) -> tuple[V, ...]:
    """Return the rows of the ``table`` that a command of nhrpd printed, each read by ``read``.

    ``skip`` is called with the reason for each unreadable row, which is then missing from the result; the default
    raises. Raises ``FrrFormatError``.
    """
    rows = json_object(text, command).get("table")
    if not isinstance(rows, list):
        raise FrrFormatError(f"{command} has no table")
    found = []
    for row in rows:
        try:
            found.append(read(typed.mapping(row)))
        except MALFORMED as error:
            skip(f"{command}: unexpected row ({type(error).__name__} {error}): {typed.brief(row, 200)}")
    return tuple(found)


def shown_address(text: str) -> Address | None:
    """Return an address that nhrpd printed; ``None`` for its ``-`` and ``(unspec)``."""
    return None if text == "-" or text.startswith("(") else ip_address(text)
