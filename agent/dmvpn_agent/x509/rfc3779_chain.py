"""RFC 3779 resources along a chain (section 2.3): what a certificate holds, and what exceeds its issuer's.

An issuer without the extension neither holds nor limits anything: the nearest one above it with the extension does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from dmvpn_agent.addresses import AsRange, Network
from dmvpn_agent.x509.certificate import Certificate, Claim, Inheritable, Resources, Source, T_co
from dmvpn_agent.x509.claims import values, well_formed

Resource = TypeVar("Resource", Network, AsRange)

_FAMILIES = frozenset({Inheritable.IPV4, Inheritable.IPV6})


class Excess(NamedTuple):
    """A resource that ``holder``'s certificate names and its ``issuer`` does not hold; all as text for people."""

    holder: str
    issuer: str
    field: str
    text: str


class HeldResources(NamedTuple):
    """The RFC 3779 resources of a certificate, and every excess in its chain.

    ``resources`` has inherited resources filled in; its ``inherits`` keeps what no issuer resolves.
    """

    resources: Resources
    excess: tuple[Excess, ...] = ()


class _Holding(NamedTuple):
    """The resources of one kind, address blocks or AS numbers, that an issuer holds."""

    resources: Resources
    issuer: str


def held_resources(certificate: Certificate, issuers: Sequence[Certificate]) -> HeldResources:
    """Return what a certificate holds; ``issuers`` is its chain, nearest first."""
    addresses: _Holding | None = None
    numbers: _Holding | None = None
    excess: list[Excess] = []
    resources = Resources()
    for holder in (*reversed(issuers), certificate):
        own = resources = holder.resources.get(Source.RFC3779, Resources())
        if addresses is not None:
            resources = _with_inherited(resources, own.inherits & _FAMILIES, addresses)
            excess += _excess(holder, own.prefixes, addresses.resources.prefixes, addresses.issuer)
        if numbers is not None:
            resources = _with_inherited(resources, own.inherits - _FAMILIES, numbers)
            excess += _excess(holder, own.as_numbers, numbers.resources.as_numbers, numbers.issuer)
        if own.prefixes or own.inherits & _FAMILIES:
            addresses = _Holding(Resources(prefixes=resources.prefixes), holder.subject_rfc4514)
        if own.as_numbers or own.inherits - _FAMILIES:
            numbers = _Holding(Resources(as_numbers=resources.as_numbers), holder.subject_rfc4514)
    return HeldResources(resources, tuple(excess))


def _excess(
    holder: Certificate, claims: tuple[Claim[Resource], ...], held: tuple[Claim[Resource], ...], issuer: str
) -> Iterator[Excess]:
    """Yield the claims that are not within what is held; a malformed claim denies by itself."""
    spans = _merged(_span(value) for value in values(held))
    for claim, value in well_formed(claims):
        family, low, high = _span(value)
        if not any(family == its and first <= low and high <= last for its, first, last in spans):
            yield Excess(holder.subject, issuer, claim.field, claim.text)


#: The kind of number (4, 6, or 0 for AS numbers), and the first and last number.
Span = tuple[int, int, int]


def _span(value: Network | AsRange) -> Span:
    if isinstance(value, AsRange):
        return 0, value.low, value.high
    return value.version, int(value.network_address), int(value.broadcast_address)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans, with those that overlap or touch merged."""
    merged: list[Span] = []
    for family, low, high in sorted(spans):
        if merged and merged[-1][0] == family and low <= merged[-1][2] + 1:
            merged[-1] = family, merged[-1][1], max(high, merged[-1][2])
        else:
            merged.append((family, low, high))
    return merged


def _with_inherited(resources: Resources, inherited: frozenset[Inheritable], holding: _Holding) -> Resources:
    """Return the resources with what they inherit taken from the issuer's holding."""

    def marked(claims: Iterable[Claim[T_co]]) -> tuple[Claim[T_co], ...]:
        return tuple(replace(claim, text=f"{claim.text} (inherited from {holding.issuer})") for claim in claims)

    numbers = marked(holding.resources.as_numbers) if Inheritable.AS_NUMBER in inherited else ()
    prefixes = marked(claim for claim in holding.resources.prefixes if _family(claim) in inherited)
    found = {family for claim in prefixes if (family := _family(claim))} | (
        {Inheritable.AS_NUMBER} if numbers else set()
    )
    return replace(
        resources,
        prefixes=(*resources.prefixes, *prefixes),
        as_numbers=(*resources.as_numbers, *numbers),
        inherits=resources.inherits - found,
    )


def _family(claim: Claim[Network]) -> Inheritable | None:
    if claim.value is None:
        return None
    return Inheritable.IPV4 if claim.value.version == 4 else Inheritable.IPV6
