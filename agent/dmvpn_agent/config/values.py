"""Parsers of single values, of those that more than one table has."""

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.config.table import Invalid, Parser
from dmvpn_agent.runtime.endpoint import Endpoint

V = TypeVar("V")
W = TypeVar("W")


def check(condition: object) -> None:
    """Raise ``ValueError`` if a condition does not hold."""
    if not condition:
        raise ValueError


def _text(value: Any) -> str:
    check(isinstance(value, str) and value)
    return str(value)


def matching(pattern: str) -> Callable[[Any], str]:
    """Return a function that takes a text that a regular expression matches as a whole."""

    def parse(value: Any) -> str:
        check(re.fullmatch(pattern, value))
        return str(value)

    return parse


def _boolean(value: Any) -> bool:
    check(isinstance(value, bool))
    return bool(value)


def _whole(value: Any, low: int, high: int) -> int:
    check(isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
    return int(value)


def _path(value: Any) -> Path:
    path = Path(_text(value))
    check(path.is_absolute())
    return path


def _path_or_none(value: Any) -> Path | None:
    return None if value == "" else _path(value)


def _endpoint(value: Any) -> Endpoint | None:
    if value == "":
        return None
    host, _, port = value.rpartition(":")
    ip_address(host.strip("[]"))
    check(port.isdecimal() and 0 < int(port) < 65536)
    return Endpoint(host.strip("[]"), int(port))


def list_of(item: Callable[[Any], V]) -> Callable[[Any], tuple[V, ...]]:
    """Return a function that reads a list, each item by ``item``."""

    def parse(value: Any) -> tuple[V, ...]:
        check(isinstance(value, list | tuple))
        return tuple(item(one) for one in value)

    return parse


def _address(value: Any) -> Address:
    return ip_address(_text(value))


boolean: Parser[bool] = Parser("true or false", _boolean)
text: Parser[str] = Parser("a text", _text)
word: Parser[str] = Parser("a name of letters, digits, '.', '_' and '-'", matching(r"[A-Za-z][A-Za-z0-9._-]{0,63}"))
word_or_none: Parser[str] = Parser(
    "a name of letters, digits, '.', '_' and '-', or \"\" for none", matching(r"|[A-Za-z][A-Za-z0-9._-]{0,63}")
)
label: Parser[str] = Parser(
    "a word of at most 32 letters, digits, '.', '_' and '-'", matching(r"[A-Za-z0-9._-]{1,32}")
)
#: The kernel allows anything but '/', ':' and white space. None of these characters is special to nft or vtysh.
interface: Parser[str] = Parser(
    "the name of an interface, 15 characters at most", matching(r"(?!\.{1,2}$)[A-Za-z0-9._@+=~,%-]{1,15}")
)
path: Parser[Path] = Parser("an absolute path", _path)
path_or_none: Parser[Path | None] = Parser('an absolute path, or "" for none', _path_or_none)
endpoint: Parser[Endpoint | None] = Parser('"address:port" with an IP address, or "" for none', _endpoint)
paths: Parser[tuple[Path, ...]] = Parser("a list of absolute paths", list_of(_path))
patterns: Parser[tuple[str, ...]] = Parser('a list of shell patterns, as ["*,O=lab,C=DE"]', list_of(_text))
address: Parser[Address] = Parser('an address, as "10.255.0.2"', _address)
addresses: Parser[tuple[Address, ...]] = Parser('a list of addresses, as ["10.255.0.2"]', list_of(_address))


def optional(parser: Parser[V]) -> Parser[V | None]:
    """Return a parser that also takes ``""``, as ``None``."""
    return Parser(f'{parser.expected}, or "" for none', lambda value: None if value == "" else parser.parse(value))


def one_of(*words: str) -> Parser[str]:
    """Return a parser for one of these words."""

    def parse(value: Any) -> str:
        check(value in words)
        return str(value)

    return Parser("one of " + ", ".join(words), parse)


def several_of(*words: W) -> Parser[tuple[W, ...]]:
    """Return a parser for a list of some of these words, each once."""

    def parse(value: Any) -> tuple[W, ...]:
        check(isinstance(value, list | tuple) and value and len(set(value)) == len(value))
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
        check(isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high)
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
        check(isinstance(value, list) and len(value) >= at_least)
        return tuple(_network(_text(item)) for item in value)

    return Parser('a list of networks without host bits, as ["10.255.0.0/24"]', parse)
