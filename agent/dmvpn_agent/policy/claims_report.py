"""Everything that a certificate and the static table name, each with whether it counts and why not: for people."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.policy.authentication_rules import static_peer_of
from dmvpn_agent.policy.authorization_rules import effective_resources, role_of
from dmvpn_agent.policy.chain_rules import ChainValidator
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.rules import Combination, Policy, StaticPeer
from dmvpn_agent.x509.certificate import Certificate, Claim, Inheritable, Resources, Role, Source
from dmvpn_agent.x509.trust import Trust

PROTOCOL_ADDRESS = "protocol address"
AS_NUMBER = "AS number"
PREFIX = "prefix"
ROLE = "role"
NOTHING = "nothing"

_INHERITED = {Inheritable.IPV4: PREFIX, Inheritable.IPV6: PREFIX, Inheritable.AS_NUMBER: AS_NUMBER}


@dataclass(frozen=True, slots=True)
class ReportedClaim:
    """One resource as a source names it.

    ``kind``: what it is. ``text``: as written there. ``value``: as understood, ``None`` where it is not. ``counts``:
    it is what the peer is judged by; ``note`` says why, or why not.
    """

    source: Source
    kind: str
    field: str
    text: str
    value: object | None
    counts: bool
    note: str


def report_claims(request: BindingRequest, policy: Policy, trust: Trust, now: datetime) -> tuple[ReportedClaim, ...]:
    """Return what the sources name, those first that count, in the policy's order."""
    certificate = request.certificate if isinstance(request.certificate, Certificate) else None
    row = static_peer_of(request, policy)
    if certificate is None and row is None:
        return ()
    rfc3779 = ChainValidator(policy, trust).validate(certificate, now).resources if certificate else Resources()
    counted = effective_resources(certificate, row, policy, rfc3779).resources
    found: list[ReportedClaim] = []
    if row is not None:
        found += _named(Source.STATIC, row.resources, counted, f"[[policy.peer]] for {row.identity}")
    sources = dict(certificate.resources) if certificate else {}
    if certificate and Source.RFC3779 in sources:
        sources[Source.RFC3779] = rfc3779
    order = [source for source in policy.sources if source in sources]
    for source in (*order, *(source for source in sources if source not in order)):
        found += _named(source, sources[source], counted, _unused(source, row, policy))
    found += (
        ReportedClaim(Source.SUBJECT, NOTHING, claim.field, claim.text, claim.value, False,
              f"looks like {claim.value}, which must stand exactly so")
        for claim in (certificate.lookalikes if certificate else ())
    )  # fmt: skip
    return tuple(found)


def _unused(source: Source, row: StaticPeer | None, policy: Policy) -> str:
    """Return why a well-formed claim of a source would not count."""
    if row is not None:
        return f"[[policy.peer]] for {row.identity} overrides the certificate"
    if source not in policy.sources:
        return f"policy.sources.order is without {source}"
    return {
        Combination.FIRST: "a source before it in policy.sources.order names some",
        Combination.UNION: "named already",
        Combination.AGREE: "compared: the sources must name the same",
    }[policy.combination]


def _named(source: Source, resources: Resources, counted: Resources, unused: str) -> Iterator[ReportedClaim]:
    parts: tuple[tuple[str, tuple[Claim[object], ...], tuple[Claim[object], ...]], ...] = (
        (PROTOCOL_ADDRESS, resources.protocol_addresses, counted.protocol_addresses),
        (AS_NUMBER, resources.as_numbers, counted.as_numbers),
        (PREFIX, resources.prefixes, counted.prefixes),
        (ROLE, resources.roles, counted.roles),
    )
    for kind, claims, counting in parts:
        for claim in claims:
            counts = claim in counting
            note = "malformed: denies the peer" if counts and claim.value is None else ""
            if counts and claim.value is Role.HUB and role_of(counted) is not Role.HUB:
                counts, unused = False, "contradicted by what says that it is no hub"
            yield ReportedClaim(
                source, kind, claim.field, claim.text, claim.value, counts, note if counts else unused
            )
    for what in sorted(resources.inherits):
        note = "left to the issuer, and no certificate in policy.ca_certificates names it"
        yield ReportedClaim(source, _INHERITED[what], str(what), "inherit", None, what in counted.inherits, note)
