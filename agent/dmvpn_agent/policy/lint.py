"""Checks of a policy as a whole: rules that contradict each other, and rules that can never matter."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from dmvpn_agent.addresses import RESERVED_AS_NUMBERS, covers, overlap
from dmvpn_agent.policy.address_rules import tunnel_address_checks
from dmvpn_agent.policy.authorization_rules import resource_checks
from dmvpn_agent.policy.check import Check, OrList
from dmvpn_agent.policy.peer import PeerKind
from dmvpn_agent.policy.resources import CombinedResources
from dmvpn_agent.policy.routing_rules import routing_checks
from dmvpn_agent.policy.rules import Action, Combination, Policy, Rules, StaticPeer
from dmvpn_agent.x509.certificate import Role, Source
from dmvpn_agent.x509.claims import values


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of a policy.

    ``where`` names the table, ``text`` the problem. ``contradiction``: by this rule no peer could be accepted, or
    only the wrong one; otherwise the rule works, but is probably a mistake.
    """

    where: str
    text: str
    contradiction: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def lint(policy: Policy) -> tuple[Finding, ...]:
    """Return the problems of a policy, contradictions first."""
    found = [*_whole(policy), *_static_peers(policy), *_maintenance(policy)]
    for interface in policy.rules:
        found += _interface(interface, policy)
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: not finding.contradiction))


def _interface(interface: str, policy: Policy) -> Iterator[Finding]:
    """Yield the problems of an interface's rules, once for all kinds of peer that share them."""
    kinds: dict[Finding, list[PeerKind]] = {}
    for kind in policy.kinds:
        rules = policy.rules[interface][kind]
        if rules.allowed:
            for finding in _rules(f"policy, {interface}", kind, rules, policy):
                kinds.setdefault(finding, []).append(kind)
    for finding, concerned in kinds.items():
        yield replace(finding, where=f"{finding.where}, {' and '.join(concerned)}")


def _whole(policy: Policy) -> Iterator[Finding]:
    if not {Source.SUBJECT, Source.SUBJECT_ALT_NAME} & set(policy.sources) and not policy.static_peers:
        yield Finding("policy.sources", "no source names protocol addresses: add subject or subject_alt_name", True)
    if not any(rules[kind].allowed for rules in policy.rules.values() for kind in policy.kinds):
        yield Finding("policy", "no kind of peer is allowed on any interface", True)
    if policy.combination is not Combination.FIRST and len(policy.sources) == 1:
        yield Finding("policy.sources", f"combine = {policy.combination} has no effect with one source", False)


def _rules(where: str, kind: PeerKind, rules: Rules, policy: Policy) -> Iterator[Finding]:
    if rules.requires_hub_role and kind is not PeerKind.HUB:
        yield Finding(where, "require_hub_role denies every peer that is not a hub: set it in [policy.hub]", True)
    yield from _patterns(where, rules)
    for network in rules.allowed_networks:
        longest = rules.max_prefix_length[network.version == 6]
        if network.prefixlen > longest:
            yield Finding(where, f"no prefix in allowed_networks {network} has a length of /{longest} or less", True)
        for forbidden in (*rules.tunnel_networks, *rules.forbidden_networks):
            if covers(forbidden, network):
                yield Finding(where, f"{forbidden} forbids all of {network} in allowed_networks", True)
    for forbidden in rules.forbidden_networks:
        if not any(overlap(forbidden, network) for network in rules.allowed_networks):
            yield Finding(
                where, f"forbidden_networks {forbidden} has no effect: it is not in allowed_networks", False
            )
        if rules.transit and (of := [one for one in rules.tunnel_networks if overlap(forbidden, one)]):
            text = f"forbidden_networks {forbidden} keeps out routes to protocol addresses in {OrList(of)}"
            yield Finding(where, text, False)
    for one, other in combinations(rules.tunnel_networks, 2):
        if overlap(one, other):
            yield Finding(where, f"tunnel_networks {one} and {other} overlap", False)
    if rules.needs_as_number:
        yield from _as_numbers(where, rules, policy.own_as_number_towards(kind))


def _patterns(where: str, rules: Rules) -> Iterator[Finding]:
    for pattern in (*rules.issuers, *rules.subjects):
        if pattern.startswith("C=") and "," in pattern:
            text = f"the pattern {pattern!r} begins with the country, which comes last in a name (RFC 4514)"
            yield Finding(where, text, False)


def _as_numbers(where: str, rules: Rules, own: int | None) -> Iterator[Finding]:
    usable = [
        numbers
        for numbers in rules.as_ranges
        if numbers.high - numbers.low >= len(RESERVED_AS_NUMBERS)
        or any(number not in RESERVED_AS_NUMBERS for number in range(numbers.low, numbers.high + 1))
    ]
    if not usable and not rules.allows_ibgp:
        yield Finding(where, f"as_numbers has only reserved numbers: {OrList(rules.as_ranges)}", True)
    if own is not None and not rules.allows_ibgp and (own, own) in rules.as_ranges:
        yield Finding(where, f"as_numbers names the node's own AS number, {own}, and allow_ibgp is false", True)


def _static_peers(policy: Policy) -> Iterator[Finding]:
    for number, row in enumerate(policy.static_peers, start=1):
        where = f"policy.peer[{number}] ({row.identity})"
        failures = [_first_failure(row, interface, policy) for interface in policy.rules]
        if all(failures) and (failed := failures[0]):
            text = f"would be denied: {failed.reason}: {failed.found}, expected {failed.expected}"
            yield Finding(where, text, True)
        if row.identity == "*" and row.overrides:
            yield Finding(where, "overrides the certificate of every peer", False)
    taken: dict[object, StaticPeer] = {}
    for row in policy.static_peers:
        for address in values(row.resources.protocol_addresses):
            if (other := taken.setdefault(address, row)) is not row:
                text = f"{address} is given to {other.identity} and to {row.identity}"
                yield Finding("policy.peer", text, True)


def _first_failure(row: StaticPeer, interface: str, policy: Policy) -> Check | None:
    """Return the first check that a row fails by itself on an interface."""
    hub, spoke = policy.kinds
    kind = hub if Role.HUB in values(row.resources.roles) else spoke
    rules = policy.rules[interface][kind]
    checks = [
        *resource_checks(CombinedResources(row.resources), None, kind, rules),
        *routing_checks(row.resources, rules, policy.own_as_number_towards(kind)),
    ]
    for address in values(row.resources.protocol_addresses):
        checks += tunnel_address_checks(address, frozenset(), rules)
    return next((check for check in checks if not check.passed), None)


def _maintenance(policy: Policy) -> Iterator[Finding]:
    denied = {(row.identity, row.serial) for row in policy.maintenance if row.action is Action.DENY}
    for row in policy.maintenance:
        if row.action is Action.QUARANTINE and (row.identity, row.serial) in denied:
            yield Finding("policy.maintenance", f"{row} has no effect: the same peer is denied", False)
        if row.identity == "*" and row.action is Action.DENY:
            yield Finding("policy.maintenance", "denies every peer", False)
