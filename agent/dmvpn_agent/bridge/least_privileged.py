"""Which of a peer's certificates entitles to least: it counts if charon does not show which one the peer used."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from dmvpn_agent.addresses import Address, AsRange, Network
from dmvpn_agent.x509.certificate import Certificate, Claim, Resources, Source

T = TypeVar("T")

_NOTHING = Resources()


def least_privileged(certificates: Sequence[Certificate]) -> Certificate | None:
    """Return the one whose resources are within each other one's, the newest of equals; ``None`` if there is none.

    Each source of resources is compared by itself, so the result holds for every way in which a policy combines them.
    """
    least = [one for one in certificates if all(is_subset(one, other) for other in certificates)]
    return max(least, key=lambda one: (one.not_before, one.fingerprint), default=None)


def is_subset(one: Certificate, other: Certificate) -> bool:
    """Tell whether a certificate entitles to nothing that the other one does not; ``False`` if in doubt."""
    if one.resources == other.resources:
        return True
    pairs = [(one.resources.get(source, _NOTHING), other.resources.get(source, _NOTHING)) for source in Source]
    return (
        not any(_malformed(resources) for pair in pairs for resources in pair)
        and all(_must_be_equal(mine) == _must_be_equal(theirs) for mine, theirs in pairs)
        and _kind_is_subset(pairs, lambda resources: resources.protocol_addresses, _same)
        and _kind_is_subset(pairs, lambda resources: resources.as_numbers, _in_range)
        and _kind_is_subset(pairs, lambda resources: resources.prefixes, _in_network)
    )


def _kind_is_subset(
    pairs: Sequence[tuple[Resources, Resources]],
    part: Callable[[Resources], tuple[Claim[T], ...]],
    contains: Callable[[T, T], bool],
) -> bool:
    """Compare one kind of resource.

    If only the other certificate names it in a source, a policy can read it from there, and from another source here.
    """
    named = [(_values(part(mine)), _values(part(theirs))) for mine, theirs in pairs]
    elsewhere = any(mine for mine, _ in named)
    return all(
        all(any(contains(wide, value) for wide in theirs) for value in mine)
        and (bool(mine) or not theirs or not elsewhere)
        for mine, theirs in named
    )


def _values(claims: tuple[Claim[T], ...]) -> list[T]:
    return [claim.value for claim in claims if claim.value is not None]


def _malformed(resources: Resources) -> bool:
    claims = (*resources.protocol_addresses, *resources.as_numbers, *resources.prefixes, *resources.roles)
    return any(claim.value is None for claim in claims)


def _must_be_equal(resources: Resources) -> tuple[frozenset[Hashable], ...]:
    """Return what has no order: roles, and the resources to be inherited from an issuer that is not known here."""
    return frozenset(claim.value for claim in resources.roles), frozenset(resources.inherits)


def _same(wide: Address, value: Address) -> bool:
    return wide == value


def _in_range(wide: AsRange, value: AsRange) -> bool:
    return wide.low <= value.low and value.high <= wide.high


def _in_network(wide: Network, value: Network) -> bool:
    return wide.version == value.version and value.subnet_of(wide)  # type: ignore[arg-type]
