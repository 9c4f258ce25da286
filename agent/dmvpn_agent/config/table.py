"""A TOML table that is read key by key and knows its keys, and the errors of a configuration.

A parser raises ``ValueError``; its ``expected`` describes the allowed values. The table adds the key and the value.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

V = TypeVar("V")
W = TypeVar("W")

REQUIRED: Any = object()
#: How similar a key must be to one that is missing to be meant by it (``difflib``): ``rol`` is, another key is not.
ALMOST_SAME = 0.8


class ConfigError(Exception):
    """The configuration is invalid. The text has the key, the value, the allowed values and, if known, a fix."""


class Invalid(ValueError):
    """A value is not allowed. The text names the wrong part and a correction."""


@dataclass(frozen=True, slots=True)
class Parser(Generic[V]):
    """Turns a TOML value into ``V`` or raises ``ValueError``. ``expected`` completes «expected …» in a message."""

    expected: str
    parse: Callable[[Any], V]


class Table:
    """One TOML table, read key by key. A key that no code reads is unknown, which is an error."""

    def __init__(self, name: str, raw: Any) -> None:
        self._name = name
        self._raw: dict[str, Any] = dict(raw)
        self._known: list[str] = []
        self._tables: list[Table] = []

    @property
    def name(self) -> str:
        """Return the path of the table in the file."""
        return self._name

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def get(self, key: str, parser: Parser[V], default: Any = REQUIRED) -> V:
        """Return the value of ``key``. Raises ``ConfigError`` if it is not allowed, or missing and required."""
        self._known.append(key)
        value = self._raw.get(key, default)
        if value is REQUIRED:
            if near := get_close_matches(key, [name for name in self._raw if name != key], n=1, cutoff=ALMOST_SAME):
                raise ConfigError(f"{self._path(near[0])} is unknown; did you mean {self._path(key)}?")
            raise ConfigError(f"{self._path(key)} is missing; expected {parser.expected}")
        try:
            return parser.parse(value)
        except (ValueError, TypeError, AttributeError) as error:
            hint = f" ({error})" if isinstance(error, Invalid) else ""
            raise ConfigError(f"{self._path(key)} is {value!r}; expected {parser.expected}{hint}") from None

    def get_or(self, key: str, parser: Parser[V], otherwise: W) -> V | W:
        """Return the value of ``key``, or ``otherwise`` if the table has no such key. Raises ``ConfigError``."""
        if key in self._raw:
            return self.get(key, parser)
        self._known.append(key)
        return otherwise

    def table(self, key: str) -> "Table":
        """Return the table ``key``, empty if the file does not have it."""
        self._known.append(key)
        raw = self._raw.get(key, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"{self._path(key)} is {raw!r}; expected a table: [{self._path(key)}]")
        table = Table(self._path(key), raw)
        self._tables.append(table)
        return table

    def tables(self, key: str, name: Parser[str]) -> list[tuple[str, "Table"]]:
        """Return the tables in the table ``key``, with their names."""
        outer = self.table(key)
        return [(outer._named(inner, name), outer.table(inner)) for inner in outer._raw]

    def _named(self, key: str, name: Parser[str]) -> str:
        try:
            return name.parse(key)
        except ValueError:
            raise ConfigError(f"{self._path(key)} is unknown; expected {name.expected}") from None

    def rows(self, key: str) -> list["Table"]:
        """Return the array of tables ``key`` (``[[key]]``), empty if the file does not have it."""
        self._known.append(key)
        raw = self._raw.get(key, [])
        if not isinstance(raw, list) or not all(isinstance(row, dict) for row in raw):
            raise ConfigError(f"{self._path(key)} is {raw!r}; expected tables: [[{self._path(key)}]]")
        rows = [Table(f"{self._path(key)}[{number}]", row) for number, row in enumerate(raw, start=1)]
        self._tables += rows
        return rows

    def finish(self) -> None:
        """Raise ``ConfigError`` for the unknown keys of this table and the tables in it, each named once."""
        if unknown := list(dict.fromkeys(self._unknown(self._all_known()))):
            raise ConfigError("; ".join(unknown))

    def _unknown(self, everywhere: Mapping[str, str]) -> Iterator[str]:
        for key in self._raw:
            if key not in self._known:
                yield f"{self._path(key)} is unknown; {self._suggestion(key, everywhere)}"
        for table in self._tables:
            yield from table._unknown(everywhere)

    def _suggestion(self, key: str, everywhere: Mapping[str, str]) -> str:
        if key in everywhere:
            return f"did you mean {everywhere[key]}?"
        if near := get_close_matches(key.lower(), self._known, n=1):
            return f"did you mean {self._path(near[0])}?"
        where = f"in [{self._name}]" if self._name else "at the top"
        return f"allowed {where}: {', '.join(sorted(set(self._known)))}"

    def _all_known(self) -> dict[str, str]:
        """Return the path of each key that this table or one in it knows; the first of several paths."""
        places = {key: self._path(key) for key in self._known}
        for table in self._tables:
            places = table._all_known() | places
        return places
