"""Several sources of resources to one: chosen, put together or compared, as the policy says."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from dmvpn_agent.core.model import Certificate, Claim, Inheritable, Network, Resources, Role, Source, T_co
from dmvpn_agent.core.policy import Combination

#: How many issuers may leave a resource to theirs, one after another.
MAX_INHERITANCE = 8

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


def inherited(certificate: Certificate, authorities: Mapping[bytes, Certificate]) -> Resources:
    """Return the RFC 3779 resources of a certificate with what it leaves to its issuers filled in.

    ``inherits`` keeps what no authority resolves.
    """
    resources = certificate.resources.get(Source.RFC3779, Resources())
    open_ones = resources.inherits
    holder = certificate
    for _ in range(MAX_INHERITANCE):
        issuer = authorities.get(holder.issuer_name)
        if issuer is None or issuer is holder or not open_ones:
            break
        theirs = issuer.resources.get(Source.RFC3779, Resources())
        resources = _filled_in(resources, open_ones - theirs.inherits, theirs, issuer.subject)
        open_ones, holder = open_ones & theirs.inherits, issuer
    return resources


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
