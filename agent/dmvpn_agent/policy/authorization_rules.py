"""The rules about what a peer is entitled to: its role, its protocol addresses, and what it may announce.

They depend on the certificate or the static table, on the policy and on the requested address, but not on the time:
the Judge caches their result. Values are parsed and compared whole: ``GRE=10.0.0.1`` says nothing about 10.0.0.10.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dmvpn_agent.addresses import Address, Network
from dmvpn_agent.policy.check import Check, OrList
from dmvpn_agent.policy.claim_checks import field_of, well_formed_checks
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.resources import CombinedResources, role_of
from dmvpn_agent.policy.routing_rules import is_transit_block
from dmvpn_agent.policy.rules import Rules, matches
from dmvpn_agent.x509.certificate import Certificate, Claim, Resources, Role
from dmvpn_agent.x509.claims import texts, values


class Authorization(NamedTuple):
    """What a peer is entitled to if every rule passes.

    ``as_number`` is ``None`` if none is named and none is needed. ``prefixes`` are the peer's own.
    ``transit_blocks``: the address blocks (RFC 3779) of a peer that carries others' prefixes; they entitle it to
    nothing, because the policy says what such a peer may announce. ``address_field`` and ``address_text``: where the
    protocol addresses are named, and how, for people.
    """

    protocol_addresses: tuple[Address, ...]
    as_number: int | None
    prefixes: tuple[Network, ...]
    transit_blocks: tuple[Network, ...]
    address_field: str
    address_text: str


def authorization(resources: Resources, rules: Rules) -> Authorization:
    """Return what the resources entitle to."""
    numbers = values(resources.as_numbers)
    transit = [claim for claim in resources.prefixes if is_transit_block(claim, rules)]
    own = [claim for claim in resources.prefixes if not is_transit_block(claim, rules)]
    return Authorization(
        protocol_addresses=values(resources.protocol_addresses),
        as_number=numbers[0].low if numbers else None,
        prefixes=tuple(dict.fromkeys(values(own))),
        transit_blocks=tuple(dict.fromkeys(values(transit))),
        address_field=field_of(resources.protocol_addresses, "OU GRE"),
        address_text=texts(resources.protocol_addresses) or "absent",
    )


def resource_checks(
    combined: CombinedResources, certificate: Certificate | None, kind: PeerKind, rules: Rules
) -> Iterator[Check]:
    """Yield the checks of names, sources, role and protocol addresses, in their order."""
    if certificate is not None:
        yield from _name_checks(certificate, rules)
    yield from (Check(Reason.SOURCES_DISAGREE, False, *disagreement) for disagreement in combined.disagreements)
    yield _inheritance_check(combined.resources)
    yield from _role_checks(combined.resources, kind, rules)
    yield from _protocol_address_checks(combined.resources.protocol_addresses, rules)


def _name_checks(certificate: Certificate, rules: Rules) -> Iterator[Check]:
    for reason, field, name, patterns in (
        (Reason.ISSUER_NOT_ALLOWED, "issuer", certificate.issuer_rfc4514, rules.issuers),
        (Reason.SUBJECT_NOT_ALLOWED, "subject", certificate.subject_rfc4514, rules.subjects),
    ):
        if patterns:
            passed = any(matches(pattern, (name,)) for pattern in patterns)
            yield Check(reason, passed, field, name, "a name that matches ", OrList(patterns))


def _inheritance_check(resources: Resources) -> Check:
    inherited = f"inherit: {', '.join(sorted(resources.inherits))}" if resources.inherits else "nothing to inherit"
    return Check(Reason.INHERITANCE_UNRESOLVED, not resources.inherits, "IPAddrBlocks and ASIdentifiers", inherited,
                 "an issuer in policy.ca_certificates that names what is inherited")  # fmt: skip


def _role_checks(resources: Resources, kind: PeerKind, rules: Rules) -> Iterator[Check]:
    claims = resources.roles
    yield from well_formed_checks(claims, Reason.MALFORMED_ROLE, "a BOOLEAN, TRUE for a hub")
    yield Check(Reason.ROLE_NOT_ALLOWED, rules.allowed, "kind of peer", kind,
                f"a kind that may join; policy.{kind}.allowed is {str(rules.allowed).lower()}")  # fmt: skip
    if rules.requires_hub_role:
        yield Check(Reason.ROLE_NOT_ALLOWED, role_of(resources) is Role.HUB, field_of(claims, "role"),
                    texts(claims) or "absent", "a hub's role: OU=Hubs or dmvpn-ca's extension, and nothing that"
                    f" contradicts it (or policy.{kind}.require_hub_role = false)")  # fmt: skip


def _protocol_address_checks(claims: tuple[Claim[Address], ...], rules: Rules) -> Iterator[Check]:
    field = field_of(claims, "OU GRE")
    yield Check(Reason.NO_PROTOCOL_ADDRESS, bool(claims), field, texts(claims) or "absent",
                "at least one (OU GRE=<address>, or an IP address in subjectAltName)")  # fmt: skip
    yield from well_formed_checks(claims, Reason.MALFORMED_PROTOCOL_ADDRESS, "an IPv4 or IPv6 address")
    limit = rules.max_protocol_addresses
    yield Check(Reason.TOO_MANY_PROTOCOL_ADDRESSES, len(claims) <= limit, field, f"{len(claims)} in total",
                f"at most {limit}")  # fmt: skip
