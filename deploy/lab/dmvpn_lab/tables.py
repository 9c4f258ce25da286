"""TOML tables to dataclasses: the annotations of a dataclass say which keys a table has and what they hold.

An error names file place, key and value, and what is allowed: a scenario with a typing mistake must not pass as one
that expects less.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ScenarioError(Exception):
    """A scenario cannot be used. The text names place, key, value and what is allowed."""


def _same(kind: type) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"is no {kind.__name__}")
        return value

    return parse


_PARSERS: dict[type, Callable[[Any], Any]] = {
    str: _same(str),
    int: _same(int),
    bool: _same(bool),
    IPv4Address: IPv4Address,
    IPv4Interface: IPv4Interface,
    IPv4Network: IPv4Network,
    IPv6Address: IPv6Address,
    IPv6Network: IPv6Network,
}


def build(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a ``kind``, a dataclass, from a table. Raises ``ScenarioError``: a key unknown, missing or of no use."""
    types_of = get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ScenarioError(f"{where}: {key} is not a key; here are allowed: {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name in table:
            values[name] = _value(types_of[name], table[name], f"{where}: {name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ScenarioError(f"{where}: {name} is missing")
    return kind(**values)


def _value(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ScenarioError(f"{where} is {value!r}; expected a list")
        return tuple(_value(get_args(kind)[0], item, where) for item in value)
    kinds = get_args(kind) if get_origin(kind) is types.UnionType else (kind,)
    expected = [option for option in kinds if option is not type(None)]
    for option in expected:
        try:
            return _PARSERS[option](value)
        except ValueError as error:
            problem = error
    names = " or ".join(option.__name__ for option in expected)
    raise ScenarioError(f"{where} = {value!r}: {problem}; expected {names}")


def build_tagged(tag: str, kinds: Mapping[str, type[Any]], table: Mapping[str, Any], where: str) -> Any:
    """Make the dataclass that the table's ``tag`` key names. Raises ``ScenarioError``."""
    rest = dict(table)
    name = rest.pop(tag, None)
    if name not in kinds:
        raise ScenarioError(f"{where}: {tag} = {name!r}; expected one of {', '.join(kinds)}")
    return build(kinds[name], rest, f"{where}: {name}")
