"""A section of the agent's table: what one feature has in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from dmvpn_agent.addresses import Address, Network

#: Canonical text of the elements of each set that the agent fills itself.
Elements = Mapping[str, frozenset[str]]

#: In place of ``iifname`` in a forward or input chain, for an interface in a VRF: ``iifname`` is the VRF there. Empty
#: for any other packet (net/netfilter/nft_meta.c; Linux 5.6).
RECEIVED_IN_VRF = "meta sdifname"

_DECLARED = re.compile(r"^ *(set|map|chain|counter) (\S+) \{", re.MULTILINE)
_SET = re.compile(r"^  (?:set|map) (\S+) \{\n.*?(?=^  \}\n)", re.MULTILINE | re.DOTALL)


class Owner(NamedTuple):
    """Whose packets an element counts: those of a peer, by protocol address; ``what`` says which of them."""

    what: str
    peer: Address


class SectionName(StrEnum):
    """The features that have a section."""

    REDIRECT = "redirect"
    BLOCKED = "blocked"
    SOURCE_FILTER = "source_filter"
    GUARD = "guard"
    GROUPS = "groups"
    MULTICAST = "multicast"
    MSS = "mss"


@dataclass(frozen=True, slots=True)
class Section:
    """What one feature has in the table.

    ``body``: its sets, counters and chains, as they stand between the braces of a table. A set that the agent fills
    has all its elements in ``elements``, and no timeout; one that packets fill has a timeout. Counters have names.
    ``late``: the rules for packets that are in no set, such as the one that drops them. They come in a second
    transaction if the section's sets are new, because the kernel has the elements of new sets a moment later than the
    rules that look them up (Linux 6.1: 1.6 ms for 200 peers), and because packets under way are not marked.
    ``owners``: whose packets the elements count, by set and element. ``troubles``: what it cannot do, and what to do.
    """

    name: SectionName
    body: str
    elements: Elements = field(default_factory=dict)
    late: str = ""
    owners: Mapping[tuple[str, str], Owner] = field(default_factory=dict)
    troubles: tuple[str, ...] = ()

    @property
    def objects(self) -> frozenset[str]:
        """Return the objects that it declares, as ``chain input``."""
        return frozenset(f"{kind} {name}" for kind, name in _DECLARED.findall(self.body))

    @property
    def sets(self) -> Mapping[str, str]:
        """Return the declarations of its sets and maps by name, each without the brace at its end."""
        return {found[1]: found[0] for found in _SET.finditer(self.body)}


def element(*parts: int | str | Address | Network, value: int | None = None) -> str:
    """Return an element's canonical text: ``65536 . 192.0.2.0/24``, or of a map ``192.0.2.1 : 65536``."""
    key = " . ".join(_part(part) for part in parts)
    return key if value is None else f"{key} : {value}"


def _part(part: int | str | Address | Network) -> str:
    if isinstance(part, Network) and part.prefixlen == part.max_prefixlen:
        return str(part.network_address)  # as nft shows it
    return str(part)
