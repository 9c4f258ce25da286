"""The resources that count for a peer: several sources combined as ``policy.sources`` says."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from dmvpn_agent.policy.rules import Combination, Policy, StaticPeer
from dmvpn_agent.x509.certificate import Certificate, Claim, Resources, Role, Source, T_co
from dmvpn_agent.x509.claims import texts, values


class Disagreement(NamedTuple):
    """Two sources that name different resources of one kind, as text."""

    field: str
    found: str
    expected: str


class CombinedResources(NamedTuple):
    """The resources that count. ``disagreements``: sources that had to agree (``Combination.AGREE``) and do not."""

    resources: Resources
    disagreements: tuple[Disagreement, ...] = ()


def effective_resources(
    certificate: Certificate | None, static_peer: StaticPeer | None, policy: Policy, rfc3779: Resources
) -> CombinedResources:
    """Return the resources that count: those of the row of the static table if there is one, else the certificate's.

    ``rfc3779``: what the certificate holds by RFC 3779 (``ChainValidation.resources``).
    """
    if static_peer is not None or certificate is None:
        return CombinedResources(static_peer.resources if static_peer else Resources())
    sources = dict(certificate.resources)
    if Source.RFC3779 in sources:
        sources[Source.RFC3779] = rfc3779
    return combine(sources, policy.sources, policy.combination)


def combine(
    sources: Mapping[Source, Resources], order: tuple[Source, ...], combination: Combination
) -> CombinedResources:
    """Combine the sources in this order; a source that is not in it does not count.

    Malformed claims of every source that counts are kept, so that they deny.
    """
    named = [(source, sources[source]) for source in order if source in sources]
    if len(named) == 1:
        return CombinedResources(named[0][1])
    disagreements: list[Disagreement] = []

    def combined(part: Callable[[Resources], tuple[Claim[T_co], ...]]) -> tuple[Claim[T_co], ...]:
        naming = [claims for _, resources in named if (claims := part(resources))]
        if len(naming) < 2:
            return naming[0] if naming else ()
        first, *others = naming
        if combination is Combination.UNION:
            return _distinct(claim for claims in naming for claim in claims)
        if combination is Combination.AGREE:
            disagreements.extend(
                Disagreement(other[0].field, texts(other), f"the same as {first[0].field}: {texts(first)}")
                for other in others
                if {claim.value for claim in other} != {claim.value for claim in first}
            )
        return (*first, *(claim for claims in others for claim in claims if claim.value is None))

    roles = combined(lambda resources: resources.roles)
    # A source that says "not a hub" counts, whichever source comes first.
    denying = (claim for _, resources in named for claim in resources.roles if claim.value is Role.SPOKE)
    resources = Resources(
        protocol_addresses=combined(lambda resources: resources.protocol_addresses),
        as_numbers=combined(lambda resources: resources.as_numbers),
        prefixes=combined(lambda resources: resources.prefixes),
        roles=(*roles, *(claim for claim in denying if claim not in roles)),
        inherits=frozenset().union(*(resources.inherits for _, resources in named)),
    )
    return CombinedResources(resources, tuple(disagreements))


def role_of(resources: Resources) -> Role:
    """Return the role that the resources name: a hub's if one says hub and none says the opposite."""
    named = values(resources.roles)
    return Role.HUB if Role.HUB in named and Role.SPOKE not in named else Role.SPOKE


def _distinct(claims: Iterable[Claim[T_co]]) -> tuple[Claim[T_co], ...]:
    """Return one claim for each value, and every malformed one."""
    found: dict[object, Claim[T_co]] = {}
    for claim in claims:
        found.setdefault(claim if claim.value is None else claim.value, claim)
    return tuple(found.values())
