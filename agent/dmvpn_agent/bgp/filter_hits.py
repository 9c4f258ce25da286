"""How many routes a prefix-list of the agent refused, from ``show ip prefix-list detail NAME json``.

bgpd counts how often each entry matched since it was written. bgpd's summary shows accepted prefixes only, so for a
neighbor without any this tells whether it announced nothing, or only what its certificate does not allow.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dmvpn_agent.addresses import Address
from dmvpn_agent.bgp.neighbors import list_name
from dmvpn_agent.frr.show_json import MALFORMED
from dmvpn_agent.runtime import json_values as typed

#: Lists that are asked for in one pass, so that a thousand silent neighbors do not delay it.
MAX_LISTS = 100


def hits_command(address: Address, version: int = 4) -> str:
    """Return the command that shows a neighbor's filter of an IP version with its counters."""
    return f"show {'ip' if version == 4 else 'ipv6'} prefix-list detail {list_name(address, version)} json"


def parse_filter_hits(text: str, skip: Callable[[str], None]) -> Mapping[str, int]:
    """Return how many routes each list refused, from the outputs of several commands one after the other.

    ``skip`` is called with the reason for what cannot be read; its list is missing from the result.
    """
    found: dict[str, int] = {}
    for document in _documents(text, skip):
        try:
            for name, one in _lists(typed.mapping(document)):
                found[name] = sum(_refused(entry) for entry in typed.mapping(one)["entries"])
        except MALFORMED as error:
            skip(f"show ip prefix-list: unexpected output ({type(error).__name__} {error})")
    return found


def _lists(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the lists of a document. From FRR 10 on a daemon's own terminal shows them without the daemon's name."""
    for name, value in document.items():
        if "entries" in typed.mapping(value):
            yield name, value
        else:
            yield from typed.mapping(value).items()


def _documents(text: str, skip: Callable[[str], None]) -> Iterator[object]:
    decoder, position = json.JSONDecoder(), 0
    while (position := text.find("{", position)) >= 0:
        try:
            document, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            skip(f"show ip prefix-list: no JSON: {error!s:.100}")
            return
        yield document


def _refused(entry: Any) -> int:
    row = typed.mapping(entry)
    return typed.integer(row.get("hitCount", 0)) if row["type"] == "deny" else 0
