"""Values from certificates, in the one form each may have; and their text as it can be shown to people.

One value, one way to write it: what a certificate says must not depend on who reads it. IPv4-mapped IPv6 is
another way to write IPv4, so it is none; nor is an address with a scope.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.x509.certificate import Claim

#: Claims that are read from one field of a certificate.
MAX_CLAIMS = 1000
MAX_ESCAPED = 200
MAX_AS_NUMBER = 2**32 - 1

T = TypeVar("T")

_DECIMAL = re.compile(r"[1-9][0-9]{0,9}")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")


def claim(field: str, shown_text: str, parse: Callable[[str], T], text: str) -> Claim[T]:
    """Return the claim of a field in which ``text`` stands; without a value where ``parse`` raises ValueError."""
    try:
        return Claim(field, shown_text, parse(text))
    except ValueError:
        return Claim(field, shown_text, None)


def address(text: str) -> Address:
    """Return a plain address in canonical form (IPv6 in either case). Raises ``ValueError``."""
    if ":" not in text:
        return IPv4Address(text)  # takes the canonical form only
    found = IPv6Address(text)
    if str(found) != text.lower() or not is_plain(found):
        raise ValueError("not in canonical form")
    return found


def prefix(text: str) -> Network:
    """Return a prefix in canonical form, without host bits. Raises ``ValueError``."""
    first, _, length = text.partition("/")
    if not _LENGTH.fullmatch(length):
        raise ValueError("no prefix length")
    found = address(first)
    network = IPv4Network if isinstance(found, IPv4Address) else IPv6Network
    return network((int(found), int(length)))


def as_number(text: str) -> AsRange:
    """Return an AS number in plain decimal; whether it is reserved is the policy's matter. Raises ``ValueError``."""
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > MAX_AS_NUMBER:
        raise ValueError("not an AS number")
    return AsRange(number, number)


def is_plain(address: Address) -> bool:
    """Tell whether an address is neither IPv4-mapped nor scoped; of a network, its first address says it."""
    return not isinstance(address, IPv6Address) or (address.ipv4_mapped is None and address.scope_id is None)


def escaped(text: str, longest: int = MAX_ESCAPED) -> str:
    """Return text from outside as it can be shown: control and non-ASCII characters escaped, cut to ``longest``."""
    if len(text) <= longest and text.isascii() and text.isprintable():
        return text
    text = "".join(
        char if " " <= char <= "~" else char.encode("unicode_escape").decode() for char in text[: longest + 1]
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"
