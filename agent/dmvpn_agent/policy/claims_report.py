"""Every resource that a certificate and the static table name, with whether it counts and why not: for people."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dmvpn_agent.policy.authentication_rules import static_peer_of
from dmvpn_agent.policy.chain_rules import ChainValidator
from dmvpn_agent.policy.request import BindingRequest
from dmvpn_agent.policy.resources import effective_resources, role_of
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
    """One resource that a source names.

    ``kind``: the kind of resource. ``text``: as written in the source. ``value``: as parsed, ``None`` if malformed.
    ``counts``: the peer is judged by it; ``note`` says why, or why not.
    """

    source: Source
    kind: str
    field: str
    text: str
    value: object | None
    counts: bool
    note: str


def report_claims(request: BindingRequest, policy: Policy, trust: Trust, now: datetime) -> tuple[ReportedClaim, ...]:
    """Return what the sources name, in the policy's order; sources that do not count come last."""
    certificate = request.certificate if isinstance(request.certificate, Certificate) else None
    row = static_peer_of(request, policy)
    if certificate is None and row is None:
        return ()
    validator = ChainValidator(policy, trust)
    rfc3779 = validator.validate(certificate, now).resources if certificate else Resources()
    effective = effective_resources(certificate, row, policy, rfc3779).resources
    report: list[ReportedClaim] = []
    if row is not None:
        report += _source_claims(Source.STATIC, row.resources, effective, f"[[policy.peer]] for {row.identity}")
    sources = dict(certificate.resources) if certificate else {}
    if certificate and Source.RFC3779 in sources:
        sources[Source.RFC3779] = rfc3779
    order = [source for source in policy.sources if source in sources]
    for source in (*order, *(source for source in sources if source not in order)):
        report += _source_claims(source, sources[source], effective, _why_unused(source, row, policy))
    report += (
        ReportedClaim(Source.SUBJECT, NOTHING, claim.field, claim.text, claim.value, False,
                      f"looks like {claim.value}, which must be written exactly like this")
        for claim in (certificate.lookalikes if certificate else ())
    )  # fmt: skip
    return tuple(report)


def _why_unused(source: Source, row: StaticPeer | None, policy: Policy) -> str:
    """Return why a well-formed claim of a source does not count, if it does not."""
    if row is not None:
        return f"[[policy.peer]] for {row.identity} overrides the certificate"
    if source not in policy.sources:
        return f"{source} is not in policy.sources.order"
    return {
        Combination.FIRST: "an earlier source in policy.sources.order names some",
        Combination.UNION: "already named by another source",
        Combination.AGREE: "compared only: the sources must name the same",
    }[policy.combination]


def _source_claims(
    source: Source, resources: Resources, effective: Resources, why_unused: str
) -> Iterator[ReportedClaim]:
    parts: tuple[tuple[str, tuple[Claim[object], ...], tuple[Claim[object], ...]], ...] = (
        (PROTOCOL_ADDRESS, resources.protocol_addresses, effective.protocol_addresses),
        (AS_NUMBER, resources.as_numbers, effective.as_numbers),
        (PREFIX, resources.prefixes, effective.prefixes),
        (ROLE, resources.roles, effective.roles),
    )
    for kind, claims, counting in parts:
        for claim in claims:
            counts = claim in counting
            note = "malformed: denies the peer" if counts and claim.value is None else ""
            if counts and claim.value is Role.HUB and role_of(effective) is not Role.HUB:
                counts, why_unused = False, "another claim says that the peer is no hub"
            note = note if counts else why_unused
            yield ReportedClaim(source, kind, claim.field, claim.text, claim.value, counts, note)
    for inherited in sorted(resources.inherits):
        yield ReportedClaim(source, _INHERITED[inherited], str(inherited), "inherit", None,
                            inherited in effective.inherits,
                            "inherited, but no issuer in policy.ca_certificates names it")  # fmt: skip
