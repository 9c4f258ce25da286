"""A node as the registry knows it: what its certificate is to say."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.ca.errors import CaError

#: The site that all hubs belong to: it is the OU in their certificates, as in dmvpn-ca's.
HUBS = "Hubs"
#: Characters of a site's name; a node's name has a number behind it, and 32 at most (``Label``).
_LONGEST = 24
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: A CN that needs no quotes anywhere: in swanctl's identities, DN patterns and commands; 64 at most (RFC 5280).
_COMMON_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9._@-])?")


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is in service. ``prefixes`` are its site's; all nodes of a site may announce them.

    ``common_name``: the CN of its certificates, usually its name.
    """

    id: int
    name: str
    site: str
    is_hub: bool
    addresses: tuple[Address, ...]
    as_number: int
    prefixes: tuple[Network, ...]
    common_name: str


def checked_name(name: str) -> str:
    """Return the name of a new site or node. Raises ``CaError`` if it cannot be one."""
    if len(name) > _LONGEST or not _NAME.fullmatch(name) or name.casefold() in {"hub", "hubs"}:
        raise CaError(f"{name!r:.60} cannot be a name", f"use 1 to {_LONGEST} of the letters A to Z, digits, `.`, `_`"
                      " and `-`, a letter or digit first; `hub` and `hubs` are taken")  # fmt: skip
    return name


def checked_common_name(name: str) -> str:
    """Return a CN for a node's certificates. Raises ``CaError`` if it cannot be one."""
    if not _COMMON_NAME.fullmatch(name):
        raise CaError(f"{name!r:.80} cannot be a common name", "use 1 to 64 of the letters A to Z, digits, blanks,"
                      " `.`, `_`, `@` and `-`, a letter or digit first")  # fmt: skip
    return name


def merged(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return networks in ascending order, IPv4 first, and two halves of one as one (RFC 3779, section 2.2.3.6)."""
    found = list(networks)
    return (
        *collapse_addresses(one for one in found if isinstance(one, IPv4Network)),
        *collapse_addresses(one for one in found if isinstance(one, IPv6Network)),
    )
