"""The agent's table as nft shows it."""

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

from dmvpn_agent.kernel.nftables.section import Elements, element
from dmvpn_agent.runtime import json_values as typed

#: The attributes that the agent sets and compares. nft shows others too, and more with each version: handles, and
#: from 1.1.4 on the number of elements of a set (``count``).
_COMPARED = {
    "table": frozenset({"family", "name", "flags"}),  # a dormant table filters nothing
    "set": frozenset({"family", "table", "name", "type", "flags", "size", "timeout"}),
    "map": frozenset({"family", "table", "name", "type", "map", "flags", "size", "timeout"}),
    "counter": frozenset({"family", "table", "name"}),
    "chain": frozenset({"family", "table", "name", "type", "hook", "prio", "policy"}),
    "rule": frozenset({"family", "table", "chain", "expr"}),
}


class NftFormatError(Exception):
    """Unexpected output of nft."""


class Count(NamedTuple):
    """What a counter of nftables has counted."""

    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ShownTable:
    """The agent's table as nft shows it.

    ``content`` has everything in the table but counters and elements, whoever wrote it: for each object, as
    ``chain input``, nft's text. nft's wording differs by version, so it can only be compared with an earlier
    ``content``. ``kept_sets``: the sets and maps that packets do not fill. ``elements``: theirs, with what each has
    counted.
    """

    content: Mapping[str, str]
    counters: Mapping[str, Count] = field(default_factory=dict)
    kept_sets: tuple[str, ...] = ()
    elements: Mapping[str, Mapping[str, Count]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[Hashable, Count]:
        """Return all counters: by name, those of elements by set and element."""
        return dict(self.counters) | {
            (name, member): count for name, members in self.elements.items() for member, count in members.items()
        }

    @property
    def members(self) -> Elements:
        """Return the elements of each set that the agent fills."""
        return {name: frozenset(members) for name, members in self.elements.items()}


def parse_table(text: str) -> ShownTable:
    """Read ``nft -j -t list table``, which shows no elements. Raises ``NftFormatError``."""
    try:
        items = [item for item in typed.mapping(typed.document(text))["nftables"] if "metainfo" not in item]
        content: dict[str, list[object]] = {}
        counters: dict[str, Count] = {}
        kept = []
        for kind, shown in ((kind, shown) for item in items for kind, shown in item.items()):
            compared = {
                key: _plain(value) for key, value in shown.items() if key in _COMPARED.get(kind, shown.keys())
            }
            owner = f"chain {shown['chain']}" if kind == "rule" else f"{kind} {shown.get('name')}"
            content.setdefault(owner, []).append(compared)
            if kind == "counter":
                counters[typed.text(shown["name"])] = _count(shown)
            elif kind in {"set", "map"} and "timeout" not in shown.get("flags", ()):
                kept.append(typed.text(shown["name"]))
        texts = {owner: json.dumps(parts, sort_keys=True) for owner, parts in content.items()}
        return ShownTable(texts, counters, tuple(kept))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NftFormatError(f"unexpected output of nft, not a table: {text[:200]!r}") from error


def parse_elements(text: str) -> dict[str, Count]:
    """Read ``nft -j list set`` or ``list map``: the canonical text of each element.

    An element of another kind than the agent's, in a set of another program, has its JSON for a text. Raises
    ``NftFormatError``.
    """
    try:
        items = typed.mapping(typed.document(text))["nftables"]
        return dict(
            _any_element(shown)
            for item in items
            for kind in ("set", "map")
            if kind in item
            for shown in item[kind].get("elem", ())
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NftFormatError(f"unexpected output of nft, not a set: {text[:200]!r}") from error


def _any_element(shown: Any) -> tuple[str, Count]:
    try:
        return _element(shown)
    except (ValueError, KeyError, TypeError):
        return json.dumps(shown, sort_keys=True), Count(0, 0)


def _element(shown: Any) -> tuple[str, Count]:
    key, value = shown if isinstance(shown, list) else (shown, None)
    count = Count(0, 0)
    if isinstance(key, dict) and "elem" in key:
        count = _count(key["elem"]["counter"]) if "counter" in key["elem"] else count
        key = key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    return element(*map(_part, parts), value=None if value is None else typed.integer(value)), count


def _part(shown: Any) -> int | str:
    if isinstance(shown, dict):
        if "prefix" in shown:
            return f"{_part(shown['prefix']['addr'])}/{typed.integer(shown['prefix']['len'])}"
        first, last = shown["range"]
        return f"{_part(first)}-{_part(last)}"
    if isinstance(shown, int):
        return typed.integer(shown)
    text = typed.text(shown)
    return str(ip_address(text)) if ":" in text else text  # nft may spell an IPv6 address in another way


def _count(shown: Mapping[str, Any]) -> Count:
    return Count(typed.integer(shown["packets"]), typed.integer(shown["bytes"]))


def _plain(value: Any) -> Any:
    """Return a value without what counters have counted; a named counter is a text, and stays."""
    if isinstance(value, dict):
        return dict(_uncounted(value))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _uncounted(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if key != "counter" or isinstance(item, str):
            yield key, _plain(item)
