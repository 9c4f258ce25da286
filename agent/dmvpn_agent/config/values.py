"""Readers of single configuration values: a table that knows its keys, and one parser for each kind of value.

A parser raises ``ValueError``; its ``expected`` describes the allowed values. The table adds the key and the value.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Generic, TypeVar

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.runtime.endpoint import Endpoint

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


def _check(condition: object) -> None:
    if not condition:
        raise ValueError


def _text(value: Any) -> str:
    _check(isinstance(value, str) and value)
    return str(value)


def _matching(pattern: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        _check(re.fullmatch(pattern, value))
        return str(value)

    return parse


def _boolean(value: Any) -> bool:
    _check(isinstance(value, bool))
    return bool(value)


def _whole(value: Any, low: int, high: int) -> int:
    _check(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
    return int(value)


def _path(value: Any) -> Path:
    path = Path(_text(value))
    _check(path.is_absolute())
    return path


def _path_or_none(value: Any) -> Path | None:
    return None if value == "" else _path(value)


def _endpoint(value: Any) -> Endpoint | None:
    if value == "":
        return None
    host, _, port = value.rpartition(":")
    ip_address(host.strip("[]"))
    _check(port.isdecimal() and 0 < int(port) < 65536)
    return Endpoint(host.strip("[]"), int(port))


def _as_ranges(value: Any) -> tuple[AsRange, ...]:
    _check(isinstance(value, list) and value)
    ranges = []
    for item in value:
        found = re.fullmatch(r"([0-9]+) *(?:- *([0-9]+))?", str(item))
        if found is None and re.fullmatch(r" *[0-9]+ *- *", str(item)):
            raise Invalid(f"{item!r} has no end: write {str(item).strip()}4294967294")
        if found is None or isinstance(item, bool):
            raise Invalid(f"{item!r} is neither a number nor a range: write 64512 or 64512-65534")
        numbers = AsRange(int(found[1]), int(found[2] or found[1]))
        _check(0 < numbers.low <= numbers.high < 2**32)
        ranges.append(numbers)
    return tuple(ranges)


def _serial(value: Any) -> int:
    digits = _text(value).replace(":", "")
    _check(re.fullmatch("[0-9A-Fa-f]{1,40}", digits))
    return int(digits, 16)


def _list(item: Callable[[Any], V]) -> Callable[[Any], tuple[V, ...]]:
    def parse(value: Any) -> tuple[V, ...]:
        _check(isinstance(value, list | tuple))
        return tuple(item(one) for one in value)

    return parse


def _non_empty(value: Any) -> dict[Any, Any]:
    _check(isinstance(value, dict) and value)
    return dict(value)


def _address(value: Any) -> Address:
    return ip_address(_text(value))


boolean: Parser[bool] = Parser("true or false", _boolean)


text: Parser[str] = Parser("a text", _text)


word: Parser[str] = Parser("a name of letters, digits, '.', '_' and '-'", _matching(r"[A-Za-z][A-Za-z0-9._-]{0,63}"))


word_or_none: Parser[str] = Parser(
    "a name of letters, digits, '.', '_' and '-', or \"\" for none", _matching(r"|[A-Za-z][A-Za-z0-9._-]{0,63}")
)


#: The kernel allows anything but '/', ':' and white space. None of these characters is special to nft or vtysh.
interface: Parser[str] = Parser(
    "the name of an interface, 15 characters at most", _matching(r"(?!\.{1,2}$)[A-Za-z0-9._@+=~,%-]{1,15}")
)


tunnels: Parser[dict[str, str]] = Parser(
    'the tunnel interfaces, each with its profile, as { gre1 = "dmvpn", gre2 = "dmvpn2" }',
    lambda value: {interface.parse(name): word.parse(profile) for name, profile in _non_empty(value).items()},
)


path: Parser[Path] = Parser("an absolute path", _path)


path_or_none: Parser[Path | None] = Parser('an absolute path, or "" for none', _path_or_none)


endpoint: Parser[Endpoint | None] = Parser('"address:port" with an IP address, or "" for none', _endpoint)


as_ranges: Parser[tuple[AsRange, ...]] = Parser('a list of AS numbers or ranges, as ["64512-65534"]', _as_ranges)


serial: Parser[int] = Parser("a serial number in hexadecimal, as openssl and pki print it", _serial)


paths: Parser[tuple[Path, ...]] = Parser("a list of absolute paths", _list(_path))


patterns: Parser[tuple[str, ...]] = Parser('a list of shell patterns, as ["*,O=lab,C=DE"]', _list(_text))


address: Parser[Address] = Parser('an address, as "10.255.0.2"', _address)


label: Parser[str] = Parser(
    "a word of at most 32 letters, digits, '.', '_' and '-'", _matching(r"[A-Za-z0-9._-]{1,32}")
)


addresses: Parser[tuple[Address, ...]] = Parser('a list of addresses, as ["10.255.0.2"]', _list(_address))


def _weights(value: Any) -> Mapping[Address, int]:
    _check(isinstance(value, dict))
    weights = {ip_address(key): _whole(weight, 1, 65535) for key, weight in value.items()}
    _check(len(weights) == len(value))  # two spellings of one IPv6 address
    return weights


hub_weights: Parser[Mapping[Address, int]] = Parser(
    'weights from 1 to 65535 by address, as { "10.255.0.1" = 200 }', _weights
)


def optional(parser: Parser[V]) -> Parser[V | None]:
    """Return a parser that also takes ``""``, as ``None``."""
    return Parser(f'{parser.expected}, or "" for none', lambda value: None if value == "" else parser.parse(value))


def one_of(*words: str) -> Parser[str]:
    """Return a parser for one of these words."""

    def parse(value: Any) -> str:
        _check(value in words)
        return str(value)

    return Parser("one of " + ", ".join(words), parse)


def several_of(*words: W) -> Parser[tuple[W, ...]]:
    """Return a parser for a list of some of these words, each once."""

    def parse(value: Any) -> tuple[W, ...]:
        _check(isinstance(value, list | tuple) and value and len(set(value)) == len(value))
        return tuple(words[words.index(item)] for item in value)

    return Parser("a list of some of " + ", ".join(str(word) for word in words), parse)


def integer(low: int, high: int) -> Parser[int]:
    """Return a parser for a whole number in an inclusive range."""

    def parse(value: Any) -> int:
        return _whole(value, low, high)

    return Parser(f"a whole number from {low} to {high}", parse)


def seconds(low: float, high: float) -> Parser[float]:
    """Return a parser for a time in seconds in an inclusive range."""

    def parse(value: Any) -> float:
        _check(isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high)
        return float(value)

    return Parser(f"seconds, from {low} to {high}", parse)


def _network(text: str) -> Network:
    if "/" not in text:
        address = ip_address(text)
        raise Invalid(f"{text} has no prefix length: write {text}/{address.max_prefixlen} for that address alone")
    if "%" in text or (":" in text and ip_address(text.partition("/")[0]).ipv4_mapped):  # type: ignore[union-attr]
        raise Invalid(f"{text}: write an IPv4 network in IPv4 notation, and no interface")
    network = ip_network(text, strict=False)
    if ip_address(text.partition("/")[0]) != network.network_address:
        raise Invalid(f"{text} has host bits: write {network}")
    return network


def networks(*, at_least: int = 0) -> Parser[tuple[Network, ...]]:
    """Return a parser for a list of IPv4 and IPv6 networks."""

    def parse(value: Any) -> tuple[Network, ...]:
        _check(isinstance(value, list) and len(value) >= at_least)
        return tuple(_network(_text(item)) for item in value)

    return Parser('a list of networks without host bits, as ["10.255.0.0/24"]', parse)
