"""Values from certificates, each in the one form it may have, and text from outside made safe to display.

Every value has one spelling, so that all readers of a certificate read the same. IPv4-mapped IPv6 addresses are a
second spelling of IPv4 and refused; so are addresses with a scope.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.x509.certificate import Claim, T_co

#: Claims read from one field of a certificate.
MAX_CLAIMS = 1000
MAX_ESCAPED = 200
MAX_AS_NUMBER = 2**32 - 1

T = TypeVar("T")

_DECIMAL = re.compile(r"[1-9][0-9]{0,9}")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}")


def claim(field: str, displayed: str, parse: Callable[[str], T], text: str) -> Claim[T]:
    """Return the claim of a field that contains ``text``; without a value if ``parse`` raises ``ValueError``."""
    try:
        return Claim(field, displayed, parse(text))
    except ValueError:
        return Claim(field, displayed, None)


def address(text: str) -> Address:
    """Return an address from its canonical form (IPv6 in either case). Raises ``ValueError``."""
    if ":" not in text:
        return IPv4Address(text)  # accepts the canonical form only
    found = IPv6Address(text)
    if str(found) != text.lower() or not is_plain(found):
        raise ValueError("not in canonical form")
    return found


def prefix(text: str) -> Network:
    """Return a prefix from its canonical form, without host bits. Raises ``ValueError``."""
    first, _, length = text.partition("/")
    if not _LENGTH.fullmatch(length):
        raise ValueError("no prefix length")
    found = address(first)
    network = IPv4Network if isinstance(found, IPv4Address) else IPv6Network
    return network((int(found), int(length)))


def as_number(text: str) -> AsRange:
    """Return an AS number from plain decimal; the policy decides about reserved ones. Raises ``ValueError``."""
    if not _DECIMAL.fullmatch(text) or (number := int(text)) > MAX_AS_NUMBER:
        raise ValueError("not an AS number")
    return AsRange(number, number)


def is_plain(address: Address) -> bool:
    """Tell whether an address, or the first address of a network, is neither IPv4-mapped nor scoped."""
    return not isinstance(address, IPv6Address) or (address.ipv4_mapped is None and address.scope_id is None)


def well_formed(claims: Iterable[Claim[T_co]]) -> Iterator[tuple[Claim[T_co], T_co]]:
    """Yield the well-formed claims with their values."""
    for claim in claims:
        if claim.value is not None:
            yield claim, claim.value


def values(claims: Iterable[Claim[T_co]]) -> tuple[T_co, ...]:
    """Return the values of the well-formed claims."""
    return tuple(value for _, value in well_formed(claims))


def texts(claims: Iterable[Claim[object]]) -> str:
    """Return claims as text for people."""
    return ", ".join(claim.text for claim in claims)


def escaped(text: str, longest: int = MAX_ESCAPED) -> str:
    """Return text from outside with control and non-ASCII characters escaped, cut to ``longest`` characters."""
    if len(text) <= longest and text.isascii() and text.isprintable():
        return text
    text = "".join(
        char if " " <= char <= "~" else char.encode("unicode_escape").decode() for char in text[: longest + 1]
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"
