"""Checks that every kind of claim needs, whatever it claims."""

from collections.abc import Iterable, Iterator

from dmvpn_agent.policy.check import Check
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.x509.certificate import Claim


def well_formed_checks(claims: Iterable[Claim[object]], reason: Reason, expected: str) -> Iterator[Check]:
    """Yield for each claim whether it could be parsed."""
    for claim in claims:
        yield Check(reason, claim.value is not None, claim.field, claim.text, expected)


def field_of(claims: Iterable[Claim[object]], default: str) -> str:
    """Return the fields that the claims are in; ``default``, the Alpine guide's field, if there is no claim."""
    return ", ".join(dict.fromkeys(claim.field for claim in claims)) or default
