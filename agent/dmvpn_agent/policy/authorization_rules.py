"""What a certificate, or a row of the static table, entitles to under the operator's rules.

This is the part of the decision that depends on neither the question nor the time, so it is worked out once for
each certificate. All values are parsed and compared whole: ``GRE=10.0.0.1`` says nothing about 10.0.0.10.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dmvpn_agent.addresses import RESERVED_AS_NUMBERS, Address, AsRange, Network, covers, overlap
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.resources import Combined, combine, pairs, texts, values
from dmvpn_agent.policy.rules import Policy, Rules, StaticPeer, matches
from dmvpn_agent.x509.certificate import ADDRESS_BLOCKS, Certificate, Claim, Resources, Role, Source


class Rule(NamedTuple):
    """One rule looked at.

    The rest is for people, and becomes text only when somebody reads it: ``field`` is where the value stands,
    ``found`` the value, ``expected`` what is asked, followed by ``about``.
    """

    reason: Reason
    passed: bool
    field: str
    found: object
    expected: str
    about: object = ""


class OrList(NamedTuple):
    """What is allowed, as text for people."""

    things: Iterable[object]

    def __str__(self) -> str:
        return " or ".join(str(thing) for thing in self.things) or "(none is allowed)"


class CommaList(NamedTuple):
    """What was found, as text for people."""

    things: Iterable[object]

    def __str__(self) -> str:
        return ", ".join(str(thing) for thing in self.things) or "none"


class Authorization(NamedTuple):
    """What passed all rules. ``as_number`` is ``None`` where none is named and none is needed.

    ``prefixes`` are the peer's own; ``carried`` is what its address blocks say that it carries for others: that gives
    it nothing, because the policy says what such a peer may announce.
    ``where`` is the field that names the protocol addresses, ``written`` what stands there, for people.
    """

    protocol_addresses: tuple[Address, ...]
    as_number: int | None
    prefixes: tuple[Network, ...]
    transit_networks: tuple[Network, ...]
    where: str
    written: str


def effective_resources(
    certificate: Certificate | None, static_peer: StaticPeer | None, policy: Policy, rfc3779: Resources
) -> Combined:
    """Return the resources that count: the static table's where it is to be used, else the certificate's.

    ``rfc3779``: what the certificate holds by RFC 3779 (``Verified.resources``).
    """
    if static_peer is not None or certificate is None:
        return Combined(static_peer.resources if static_peer else Resources())
    sources = dict(certificate.resources)
    if Source.RFC3779 in sources:
        sources[Source.RFC3779] = rfc3779
    return combine(sources, policy.sources, policy.combination)


def role_of(resources: Resources) -> Role:
    """Return the role that the resources name: a hub's if they say hub, and nothing in them says that it is none."""
    named = values(resources.roles)
    return Role.HUB if Role.HUB in named and Role.SPOKE not in named else Role.SPOKE


def why_reserved(address: Address, networks: Iterable[Network], own: frozenset[Address]) -> str:
    """Return why no peer can have a protocol address, empty if one can.

    The first address of a network is the network's (RFC 4291, 2.6.1 for IPv6), the last one of IPv4 its broadcast
    address; networks of one or two addresses have neither (RFC 3021, RFC 6164).
    """
    if address in own:
        return "it is an address of this node"
    for network in networks:
        if address not in network or network.max_prefixlen - network.prefixlen < 2:
            continue
        if address == network.network_address:
            return f"it is the {'network' if network.version == 4 else 'subnet-router anycast'} address of {network}"
        if network.version == 4 and address == network.broadcast_address:
            return f"it is the broadcast address of {network}"
    return ""


def peer_rules(combined: Combined, certificate: Certificate | None, kind: PeerKind, rules: Rules) -> Iterator[Rule]:
    """Yield the rules over whom a certificate names, and that it can be understood, in their order."""
    resources = combined.resources
    if certificate is not None:
        yield from _names(certificate, rules)
    yield from (Rule(Reason.SOURCES_DISAGREE, False, *disagreement) for disagreement in combined.disagreements)
    yield Rule(
        Reason.INHERITANCE_UNRESOLVED, not resources.inherits, "IPAddrBlocks and ASIdentifiers",
        f"inherit: {', '.join(sorted(resources.inherits))}" if resources.inherits else "nothing left to the issuer",
        "an issuer in policy.ca_certificates that names what is inherited",
    )  # fmt: skip
    yield from _role(resources, kind, rules)
    yield from _protocol_addresses(resources.protocol_addresses, rules)


def routing_rules(resources: Resources, rules: Rules, own_as_number: int | None) -> Iterator[Rule]:
    """Yield the rules over what a peer may announce, and as whom, in their order."""
    yield from _as_number(resources.as_numbers, rules, own_as_number)
    yield from _prefixes(resources.prefixes, rules)


def authorization(resources: Resources, rules: Rules) -> Authorization:
    """Return what resources come to that have passed all rules."""
    numbers = values(resources.as_numbers)
    transit_networks = [claim for claim in resources.prefixes if _is_carried(claim, rules)]
    own = [claim for claim in resources.prefixes if not _is_carried(claim, rules)]
    return Authorization(
        protocol_addresses=values(resources.protocol_addresses),
        as_number=numbers[0].low if numbers else None,
        prefixes=tuple(dict.fromkeys(values(own))),
        transit_networks=tuple(dict.fromkeys(values(transit_networks))),
        where=_field(resources.protocol_addresses, "OU GRE"),
        written=texts(resources.protocol_addresses) or "absent",
    )


def _names(certificate: Certificate, rules: Rules) -> Iterator[Rule]:
    for reason, field, name, patterns in (
        (Reason.ISSUER_NOT_ALLOWED, "issuer", certificate.issuer_rfc4514, rules.issuers),
        (Reason.SUBJECT_NOT_ALLOWED, "subject", certificate.subject_rfc4514, rules.subjects),
    ):
        if patterns:
            passed = any(matches(pattern, (name,)) for pattern in patterns)
            yield Rule(reason, passed, field, name, "a name that matches ", OrList(patterns))


def _role(resources: Resources, kind: PeerKind, rules: Rules) -> Iterator[Rule]:
    claims = resources.roles
    yield from _well_formed(claims, Reason.MALFORMED_ROLE, "a BOOLEAN: TRUE for a hub")
    yield Rule(Reason.ROLE_NOT_ALLOWED, rules.allowed, "kind of peer", kind,
               f"a kind that is allowed; policy.{kind}.allowed is {str(rules.allowed).lower()}")  # fmt: skip
    if rules.requires_hub_role:
        yield Rule(Reason.ROLE_NOT_ALLOWED, role_of(resources) is Role.HUB, _field(claims, "role"),
                   texts(claims) or "absent", "a hub's: OU=Hubs or dmvpn-ca's extension, and nothing that says"
                   f" otherwise (or policy.{kind}.require_hub_role = false)")  # fmt: skip


def _protocol_addresses(claims: tuple[Claim[Address], ...], rules: Rules) -> Iterator[Rule]:
    field = _field(claims, "OU GRE")
    yield Rule(Reason.NO_PROTOCOL_ADDRESS, bool(claims), field, texts(claims) or "absent",
               "at least one (OU GRE=<address>, or subjectAltName IP)")  # fmt: skip
    yield from _well_formed(claims, Reason.MALFORMED_PROTOCOL_ADDRESS, "an IPv4 or IPv6 address")
    limit = rules.max_protocol_addresses
    yield Rule(Reason.TOO_MANY_PROTOCOL_ADDRESSES, len(claims) <= limit, field, f"{len(claims)} of them",
               f"not more than {limit}")  # fmt: skip


def _as_number(claims: tuple[Claim[AsRange], ...], rules: Rules, own: int | None) -> Iterator[Rule]:
    field = _field(claims, "OU AS")
    if rules.needs_as_number:
        yield Rule(Reason.NO_AS_NUMBER, bool(claims), field, texts(claims) or "absent",
                   "one (OU AS=<number>, or ASIdentifiers)")  # fmt: skip
    yield from _well_formed(claims, Reason.MALFORMED_AS_NUMBER, "a decimal number from 1 to 4294967294")
    single = len(claims) <= 1 and all(value.low == value.high for value in values(claims))
    yield Rule(Reason.SEVERAL_AS_NUMBERS, single, field, texts(claims) or "absent", "not more than one AS number")
    for claim, value in pairs(claims):
        why_reserved = value.low in RESERVED_AS_NUMBERS or (
            not single and any(value.low <= one <= value.high for one in RESERVED_AS_NUMBERS)
        )
        yield Rule(Reason.AS_NUMBER_RESERVED, not why_reserved, claim.field, claim.text,
                   "an AS number that is not reserved (0, 23456, 65535, 4294967295)")  # fmt: skip
        if own is not None and value.low <= own <= value.high:
            yield Rule(Reason.IBGP_NOT_ALLOWED, rules.allows_ibgp, claim.field, claim.text,
                       f"another AS number than this node's own, {own} (or policy.allow_ibgp)")  # fmt: skip
            continue
        allowed = any(low <= value.low and value.high <= high for low, high in rules.as_ranges)
        yield Rule(Reason.AS_NUMBER_NOT_ALLOWED, allowed, claim.field, claim.text,
                   "an AS number in ", OrList(rules.as_ranges))  # fmt: skip


def _prefixes(claims: tuple[Claim[Network], ...], rules: Rules) -> Iterator[Rule]:
    yield from _well_formed(claims, Reason.MALFORMED_PREFIX, "a prefix without host bits, as 192.0.2.0/24")
    limit = rules.max_prefixes
    yield Rule(Reason.TOO_MANY_PREFIXES, len(claims) <= limit, _field(claims, "OU NET"), f"{len(claims)} of them",
               f"not more than {limit}")  # fmt: skip
    for claim, prefix in pairs(claims):
        yield from (_carried if _is_carried(claim, rules) else _own)(claim, prefix, rules)


def _is_carried(claim: Claim[Network], rules: Rules) -> bool:
    """Tell whether a prefix says what a peer carries for others: dmvpn-ca writes that into the blocks of a hub."""
    return rules.transit and claim.field == ADDRESS_BLOCKS


def _own(claim: Claim[Network], prefix: Network, rules: Rules) -> Iterator[Rule]:
    forbidden = (*rules.tunnel_networks, *rules.forbidden_networks)
    yield Rule(
        Reason.PREFIX_NOT_ALLOWED, any(covers(network, prefix) for network in rules.allowed_networks),
        claim.field, claim.text, "a prefix inside ", OrList(rules.allowed_networks),
    )  # fmt: skip
    default_route = prefix.prefixlen == 0 and not rules.allows_default_route
    overlaps = [network for network in forbidden if overlap(prefix, network)]
    yield Rule(
        Reason.PREFIX_FORBIDDEN, not default_route and (prefix.prefixlen == 0 or not overlaps),
        claim.field, claim.text,
        "no default route, and nothing of ", OrList(overlaps or forbidden),
    )  # fmt: skip
    yield _short_enough(claim, prefix, rules)


def _carried(claim: Claim[Network], prefix: Network, rules: Rules) -> Iterator[Rule]:
    """Yield the rules over a block of a peer that carries others' prefixes; its filter depends on none of them.

    A block may be wider than what such peers may announce, and may hold what nobody may: the filter leaves that out.
    """
    possible = (*rules.allowed_networks, *rules.tunnel_networks)
    yield Rule(
        Reason.PREFIX_NOT_ALLOWED, any(overlap(network, prefix) for network in possible),
        claim.field, claim.text, "a block that has something of ", OrList(possible),
    )  # fmt: skip
    yield Rule(Reason.PREFIX_FORBIDDEN, prefix.prefixlen > 0 or rules.allows_default_route, claim.field, claim.text,
               "no default route (or policy.allow_default_route)")  # fmt: skip
    if not any(covers(network, prefix) for network in rules.tunnel_networks):
        yield _short_enough(claim, prefix, rules)


def _short_enough(claim: Claim[Network], prefix: Network, rules: Rules) -> Rule:
    longest = rules.max_prefix_length[prefix.version == 6]
    return Rule(Reason.PREFIX_TOO_LONG, prefix.prefixlen <= longest, claim.field, claim.text,
                f"a prefix length of {longest} at most")  # fmt: skip


def _well_formed(claims: Iterable[Claim[object]], reason: Reason, expected: str) -> Iterator[Rule]:
    for claim in claims:
        yield Rule(reason, claim.value is not None, claim.field, claim.text, expected)


def _field(claims: tuple[Claim[object], ...], otherwise: str) -> str:
    """Return where the claims stand; where there are none, where the Alpine guide's form has them."""
    return ", ".join(dict.fromkeys(claim.field for claim in claims)) or otherwise
