"""The rules about what a peer may announce, and with which AS number."""

from collections.abc import Iterator

from dmvpn_agent.addresses import RESERVED_AS_NUMBERS, AsRange, Network, covers, overlap
from dmvpn_agent.policy.check import Check, OrList
from dmvpn_agent.policy.claim_checks import field_of, well_formed_checks
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Rules
from dmvpn_agent.x509.certificate import ADDRESS_BLOCKS, Claim, Resources
from dmvpn_agent.x509.claims import texts, values, well_formed


def routing_checks(resources: Resources, rules: Rules, own_as_number: int | None) -> Iterator[Check]:
    """Yield the checks of AS numbers and prefixes in their order; ``own_as_number`` is the node's."""
    yield from _as_number_checks(resources.as_numbers, rules, own_as_number)
    yield from _prefix_checks(resources.prefixes, rules)


def is_transit_block(claim: Claim[Network], rules: Rules) -> bool:
    """Tell whether a prefix is one that the peer carries for others: dmvpn-ca writes them into a hub's blocks."""
    return rules.transit and claim.field == ADDRESS_BLOCKS


def _as_number_checks(claims: tuple[Claim[AsRange], ...], rules: Rules, own: int | None) -> Iterator[Check]:
    field = field_of(claims, "OU AS")
    if rules.needs_as_number:
        yield Check(Reason.NO_AS_NUMBER, bool(claims), field, texts(claims) or "absent",
                    "an AS number (OU AS=<number>, or ASIdentifiers)")  # fmt: skip
    yield from well_formed_checks(claims, Reason.MALFORMED_AS_NUMBER, "a decimal number from 1 to 4294967294")
    single = len(claims) <= 1 and all(value.low == value.high for value in values(claims))
    yield Check(Reason.SEVERAL_AS_NUMBERS, single, field, texts(claims) or "absent", "at most one AS number")
    for claim, value in well_formed(claims):
        reserved = value.low in RESERVED_AS_NUMBERS or (
            not single and any(value.low <= one <= value.high for one in RESERVED_AS_NUMBERS)
        )
        yield Check(Reason.AS_NUMBER_RESERVED, not reserved, claim.field, claim.text,
                    "an AS number that is not reserved (0, 23456, 65535, 4294967295)")  # fmt: skip
        if own is not None and value.low <= own <= value.high:
            yield Check(Reason.IBGP_NOT_ALLOWED, rules.allows_ibgp, claim.field, claim.text,
                        f"an AS number other than this node's own, {own} (or policy.allow_ibgp = true)")  # fmt: skip
            continue
        allowed = any(low <= value.low and value.high <= high for low, high in rules.as_ranges)
        yield Check(Reason.AS_NUMBER_NOT_ALLOWED, allowed, claim.field, claim.text,
                    "an AS number in ", OrList(rules.as_ranges))  # fmt: skip


def _prefix_checks(claims: tuple[Claim[Network], ...], rules: Rules) -> Iterator[Check]:
    yield from well_formed_checks(claims, Reason.MALFORMED_PREFIX, "a prefix without host bits, such as 192.0.2.0/24")
    limit = rules.max_prefixes
    yield Check(Reason.TOO_MANY_PREFIXES, len(claims) <= limit, field_of(claims, "OU NET"), f"{len(claims)} in total",
                f"at most {limit}")  # fmt: skip
    for claim, prefix in well_formed(claims):
        checks = _transit_block_checks if is_transit_block(claim, rules) else _own_prefix_checks
        yield from checks(claim, prefix, rules)


def _own_prefix_checks(claim: Claim[Network], prefix: Network, rules: Rules) -> Iterator[Check]:
    forbidden = (*rules.tunnel_networks, *rules.forbidden_networks)
    yield Check(
        Reason.PREFIX_NOT_ALLOWED, any(covers(network, prefix) for network in rules.allowed_networks),
        claim.field, claim.text, "a prefix inside ", OrList(rules.allowed_networks),
    )  # fmt: skip
    default_route = prefix.prefixlen == 0 and not rules.allows_default_route
    overlaps = [network for network in forbidden if overlap(prefix, network)]
    yield Check(
        Reason.PREFIX_FORBIDDEN, not default_route and (prefix.prefixlen == 0 or not overlaps),
        claim.field, claim.text, "no default route, and no overlap with ", OrList(overlaps or forbidden),
    )  # fmt: skip
    yield _length_check(claim, prefix, rules)


def _transit_block_checks(claim: Claim[Network], prefix: Network, rules: Rules) -> Iterator[Check]:
    """Yield the checks of a block of a transit peer, whose filter depends on none of its blocks.

    A block may be wider than what such peers may announce, and may hold forbidden networks: the filter leaves those
    out.
    """
    possible = (*rules.allowed_networks, *rules.tunnel_networks)
    yield Check(
        Reason.PREFIX_NOT_ALLOWED, any(overlap(network, prefix) for network in possible),
        claim.field, claim.text, "a block that overlaps ", OrList(possible),
    )  # fmt: skip
    yield Check(Reason.PREFIX_FORBIDDEN, prefix.prefixlen > 0 or rules.allows_default_route, claim.field, claim.text,
                "no default route (or policy.allow_default_route = true)")  # fmt: skip
    if not any(covers(network, prefix) for network in rules.tunnel_networks):
        yield _length_check(claim, prefix, rules)


def _length_check(claim: Claim[Network], prefix: Network, rules: Rules) -> Check:
    longest = rules.max_prefix_length[prefix.version == 6]
    return Check(Reason.PREFIX_TOO_LONG, prefix.prefixlen <= longest, claim.field, claim.text,
                 f"a prefix of length /{longest} or shorter")  # fmt: skip
