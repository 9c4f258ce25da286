"""Several sources of resources to one: chosen, put together or compared, as the policy says."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from dmvpn_agent.addresses import AsRange, Network
from dmvpn_agent.policy.rules import Combination
from dmvpn_agent.x509.certificate import Certificate, Claim, Inheritable, Resources, Role, Source, T_co

Resource = TypeVar("Resource", Network, AsRange)

Claims = tuple[Claim[object], ...]


class Disagreement(NamedTuple):
    """Two sources that name different resources of one kind, as text."""

    field: str
    found: str
    expected: str


class Combined(NamedTuple):
    """The resources that count. ``disagreements`` is empty unless the sources had to agree and do not."""

    resources: Resources
    disagreements: tuple[Disagreement, ...] = ()


def combine(sources: Mapping[Source, Resources], order: tuple[Source, ...], how: Combination) -> Combined:
    """Put the sources together, in their order; ones that are not in it do not count.

    What is malformed in any source that counts is kept, whatever is chosen: it denies.
    """
    named = [(source, sources[source]) for source in order if source in sources]
    if len(named) == 1:
        return Combined(named[0][1])
    disagreements: list[Disagreement] = []

    def of(part: Callable[[Resources], tuple[Claim[T_co], ...]]) -> tuple[Claim[T_co], ...]:
        naming = [claims for _, resources in named if (claims := part(resources))]
        if len(naming) < 2:
            return naming[0] if naming else ()
        first, *others = naming
        if how is Combination.UNION:
            return _distinct(claim for claims in naming for claim in claims)
        if how is Combination.AGREE:
            disagreements.extend(
                Disagreement(other[0].field, texts(other), f"the same as {first[0].field}: {texts(first)}")
                for other in others
                if {claim.value for claim in other} != {claim.value for claim in first}
            )
        return (*first, *(claim for claims in others for claim in claims if claim.value is None))

    roles = of(lambda resources: resources.roles)
    # Whoever says that it is no hub is not passed over, whatever another source says.
    denied = (claim for _, resources in named for claim in resources.roles if claim.value is Role.SPOKE)
    resources = Resources(
        protocol_addresses=of(lambda resources: resources.protocol_addresses),
        as_numbers=of(lambda resources: resources.as_numbers),
        prefixes=of(lambda resources: resources.prefixes),
        roles=(*roles, *(claim for claim in denied if claim not in roles)),
        inherits=frozenset().union(*(resources.inherits for _, resources in named)),
    )
    return Combined(resources, tuple(disagreements))


def _distinct(claims: Iterable[Claim[T_co]]) -> tuple[Claim[T_co], ...]:
    """Return one claim for each value, and every malformed one."""
    found: dict[object, Claim[T_co]] = {}
    for claim in claims:
        found.setdefault(claim if claim.value is None else claim.value, claim)
    return tuple(found.values())


class Excess(NamedTuple):
    """A resource that a certificate claims and its issuer does not hold, and who they are, as text for people."""

    holder: str
    issuer: str
    field: str
    text: str


class Delegated(NamedTuple):
    """The RFC 3779 resources of a certificate, and what in its chain exceeds what the issuer holds.

    ``resources`` has what was left to the issuers filled in; its ``inherits`` keeps what no issuer resolves.
    """

    resources: Resources
    excess: tuple[Excess, ...] = ()


def delegated(certificate: Certificate, issuers: Sequence[Certificate]) -> Delegated:
    """Return what a certificate holds by RFC 3779, section 2.3; ``issuers``: its chain, nearest first.

    An issuer without such an extension neither holds nor limits anything: those above it do.
    """
    addresses: _Held | None = None
    numbers: _Held | None = None
    excess: list[Excess] = []
    resources = Resources()
    for holder in (*reversed(issuers), certificate):
        own = resources = holder.resources.get(Source.RFC3779, Resources())
        if addresses is not None:
            resources = _filled_in(resources, own.inherits & _FAMILIES, addresses.resources, addresses.by)
            excess += _excess(holder, own.prefixes, addresses.resources.prefixes, addresses.by)
        if numbers is not None:
            resources = _filled_in(resources, own.inherits - _FAMILIES, numbers.resources, numbers.by)
            excess += _excess(holder, own.as_numbers, numbers.resources.as_numbers, numbers.by)
        if own.prefixes or own.inherits & _FAMILIES:
            addresses = _Held(Resources(prefixes=resources.prefixes), holder.subject_rfc4514)
        if own.as_numbers or own.inherits - _FAMILIES:
            numbers = _Held(Resources(as_numbers=resources.as_numbers), holder.subject_rfc4514)
    return Delegated(resources, tuple(excess))


_FAMILIES = frozenset({Inheritable.IPV4, Inheritable.IPV6})


class _Held(NamedTuple):
    """What an issuer holds of one kind, prefixes or AS numbers, and its name."""

    resources: Resources
    by: str


def _excess(
    holder: Certificate, claims: tuple[Claim[Resource], ...], held: tuple[Claim[Resource], ...], by: str
) -> Iterator[Excess]:
    """Yield the claims that are not within what is held; malformed ones deny for themselves."""
    spans = _merged(_span(value) for value in values(held))
    for claim, value in pairs(claims):
        family, low, high = _span(value)
        if not any(family == its and first <= low and high <= last for its, first, last in spans):
            yield Excess(holder.subject, by, claim.field, claim.text)


Span = tuple[int, int, int]


def _span(value: Network | AsRange) -> Span:
    """Return the first and the last number that a resource stands for, behind what kind of number it is."""
    if isinstance(value, AsRange):
        return 0, value.low, value.high
    return value.version, int(value.network_address), int(value.broadcast_address)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans with those that overlap or touch made one."""
    merged: list[Span] = []
    for family, low, high in sorted(spans):
        if merged and merged[-1][0] == family and low <= merged[-1][2] + 1:
            merged[-1] = family, merged[-1][1], max(high, merged[-1][2])
        else:
            merged.append((family, low, high))
    return merged


def _filled_in(resources: Resources, what: frozenset[Inheritable], theirs: Resources, issuer: str) -> Resources:
    def named(claims: Iterable[Claim[T_co]]) -> tuple[Claim[T_co], ...]:
        return tuple(replace(claim, text=f"{claim.text} (inherited from {issuer})") for claim in claims)

    numbers = named(theirs.as_numbers) if Inheritable.AS_NUMBER in what else ()
    prefixes = named(claim for claim in theirs.prefixes if _family(claim) in what)
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


def pairs(claims: Iterable[Claim[T_co]]) -> Iterator[tuple[Claim[T_co], T_co]]:
    """Yield well-formed claims with their values."""
    for claim in claims:
        if claim.value is not None:
            yield claim, claim.value


def values(claims: Iterable[Claim[T_co]]) -> tuple[T_co, ...]:
    """Return the values of the well-formed claims."""
    return tuple(value for _, value in pairs(claims))


def texts(claims: Iterable[Claim[object]]) -> str:
    """Return claims as text for people."""
    return ", ".join(claim.text for claim in claims)
