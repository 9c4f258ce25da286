"""The decision: may this binding be made, and what is its peer entitled to?

A pure function of the request, the operator's policy, the CAs and CRLs, what other peers hold, and the time. Every
rule has a reason of its own; the first that fails denies. ``explain`` goes through all of them.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_network
from typing import NamedTuple

from dmvpn_agent.addresses import Address, Network, contains, overlap
from dmvpn_agent.policy.authentication_rules import authentication_rules, maintenance_of, static_peer_of
from dmvpn_agent.policy.authorization_rules import (
    Authorization,
    CommaList,
    OrList,
    Rule,
    authorization,
    effective_resources,
    peer_rules,
    role_of,
    routing_rules,
    why_reserved,
)
from dmvpn_agent.policy.chain_rules import ChainValidation, ChainValidator
from dmvpn_agent.policy.decision import Accept, Check, Decision, Deny
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.resources import Combined
from dmvpn_agent.policy.rules import Action, OnConflict, Policy, Rules, StaticPeer
from dmvpn_agent.x509.certificate import Certificate, Resources, Role
from dmvpn_agent.x509.trust import Chain, Trust

#: How many certificates' entitlements are remembered: a peer registers again within minutes or not for hours.
REMEMBERED = 2048

#: The reasons that depend on the address that is asked for; the others of an explanation do not.
ADDRESS_REASONS = frozenset(
    {
        Reason.HOST_OUTSIDE_PREFIXES,
        Reason.PROTOCOL_ADDRESS_MISMATCH,
        Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL,
        Reason.PROTOCOL_ADDRESS_RESERVED,
    }
)

#: Returns the live peers of another identity that hold the peer's address or overlap its prefixes.
Holders = Callable[[Peer], tuple[Peer, ...]]


def no_holders(_: Peer) -> tuple[Peer, ...]:
    """Return no holders: for judging by certificate and policy alone."""
    return ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with every rule that was looked at.

    ``kind`` and ``resources`` are what was judged; ``kind`` is ``None`` where it did not come to that.
    """

    decision: Decision
    checks: tuple[Check, ...]
    kind: PeerKind | None
    resources: Resources


class _Subject(NamedTuple):
    """Who is judged: by which rules, with which resources."""

    rules: Rules
    kind: PeerKind
    combined: Combined
    certificate: Certificate | None


class _Verdict(NamedTuple):
    """What remains of a subject once judged for one address: what it may have, or the first rule it failed."""

    rules: Rules
    kind: PeerKind
    identity: str
    in_tunnel: bool
    outcome: Authorization | Rule
    site: str


class _Key(NamedTuple):
    """All that a verdict depends on, beside the policy and the trust.

    ``row``: all of it, because two rows of the static table can have one pattern. ``chain``: ``Chain.key``.
    """

    fingerprint: str
    chain: str
    row: StaticPeer | None
    interface: str
    by_registering: bool
    address: Address
    own: frozenset[Address]


class Judge:
    """A policy in force, with the trust it rests on. It remembers what certificates come to, and nothing else."""

    def __init__(self, policy: Policy, trust: Trust) -> None:
        self.policy = policy
        self.trust = trust
        self._validator = ChainValidator(policy, trust)
        self._verdicts: dict[_Key, _Verdict] = {}

    def decide(self, request: BindingRequest, now: datetime, holders: Holders = no_holders) -> Decision:
        """Decide on one binding at the time ``now`` (aware, UTC); nothing a peer can send makes it raise."""
        row = static_peer_of(request, self.policy)
        verified = self._verified(request, now)
        for rule in authentication_rules(request, row, self.policy, verified.rules, now):
            if not rule.passed:
                return _deny(rule)
        verdict = self._verdict(request, row, verified)
        if verdict is None:
            return Deny(Reason.INTERNAL_ERROR, "peer", "unjudged", "a certificate or a row of the static table")
        if isinstance(verdict.outcome, Rule):
            return _deny(verdict.outcome)
        if not verdict.in_tunnel:
            return self._host(request, verdict, verdict.outcome, holders)
        peer = self._peer(request, verdict, verdict.outcome)
        held = holders(peer)
        if held and verdict.rules.on_conflict is not OnConflict.TAKE_OVER:
            return _conflict(peer, held[0])
        return Accept(peer, held)

    def explain(self, request: BindingRequest, now: datetime, holders: Holders = no_holders) -> Explanation:
        """Decide, and keep every rule: those after a failed one too, as far as they still say something."""
        row = static_peer_of(request, self.policy)
        verified = self._verified(request, now)
        rules = list(authentication_rules(request, row, self.policy, verified.rules, now))
        subject = self._subject(request, row, verified)
        resources = Resources()
        if subject is not None:
            resources = subject.combined.resources
            rules += self._authorization_rules(subject, request, authorization(resources, subject.rules))
        decision = self.decide(request, now, holders)
        checks = [Check(rule.reason, rule.field, *_texts(rule), rule.passed) for rule in rules]
        if isinstance(decision, Deny) and all(check.passed for check in checks):
            checks.append(Check(decision.reason, decision.field, decision.found, decision.expected, passed=False))
        return Explanation(decision, tuple(checks), subject.kind if subject else None, resources)

    def _verified(self, request: BindingRequest, now: datetime) -> ChainValidation:
        if isinstance(request.certificate, Certificate):
            return self._validator.validate(request.certificate, now)
        return ChainValidation(None, (), Resources())

    def _subject(self, request: BindingRequest, row: StaticPeer | None, verified: ChainValidation) -> _Subject | None:
        certificate = request.certificate if isinstance(request.certificate, Certificate) else None
        if certificate is None and row is None:
            return None
        combined = effective_resources(certificate, row, self.policy, verified.resources)
        kind = self._kind(request.binding_type, role_of(combined.resources))
        rules = self.policy.rules.get(request.interface)
        return None if rules is None else _Subject(rules[kind], kind, combined, certificate)

    def _kind(self, binding_type: BindingType, role: Role) -> PeerKind:
        hub, other = self.policy.kinds
        return hub if binding_type is BindingType.NHS or role is Role.HUB else other

    def _authorization_rules(
        self, subject: _Subject, request: BindingRequest, entitled: Authorization
    ) -> Iterator[Rule]:
        yield from peer_rules(subject.combined, subject.certificate, subject.kind, subject.rules)
        yield from _address_rules(request.protocol_address, request.local_addresses, subject.rules, entitled)
        own = self.policy.own_as_number_towards(subject.kind)
        yield from routing_rules(subject.combined.resources, subject.rules, own)

    def _verdict(self, request: BindingRequest, row: StaticPeer | None, verified: ChainValidation) -> _Verdict | None:
        certificate = request.certificate
        fingerprint = certificate.fingerprint if isinstance(certificate, Certificate) else ""
        chain = verified.chain.key if verified.chain else ""
        address = request.protocol_address
        by_registering = request.binding_type is BindingType.NHS
        key = _Key(fingerprint, chain, row, request.interface, by_registering, address, request.local_addresses)
        if (known := self._verdicts.get(key)) is not None:
            return known
        subject = self._subject(request, row, verified)
        if subject is None:
            return None
        entitled = authorization(subject.combined.resources, subject.rules)
        looked_at = self._authorization_rules(subject, request, entitled)
        failed = next((rule for rule in looked_at if not rule.passed), None)
        verdict = _Verdict(
            rules=subject.rules,
            kind=subject.kind,
            identity=subject.certificate.identity if subject.certificate else "",
            in_tunnel=contains(subject.rules.tunnel_networks, address),
            outcome=failed or entitled,
            site=_site(subject, verified.chain, entitled),
        )
        if len(self._verdicts) >= REMEMBERED:
            self._verdicts.clear()
        self._verdicts[key] = verdict
        return verdict

    def _host(
        self, request: BindingRequest, verdict: _Verdict, entitled: Authorization, holders: Holders
    ) -> Decision:
        """Decide on a host behind a peer, which must be one that could be accepted now itself."""
        stopped = maintenance_of(request, self.policy, Action.QUARANTINE)
        if stopped is not None:
            return Deny(Reason.DENIED_BY_MAINTENANCE, "maintenance", str(stopped),
                        "no quarantine for the peer that the host is behind")  # fmt: skip
        ends = {*request.local_addresses, request.nbma_address, request.local_nbma_address}
        if request.protocol_address in ends:
            return Deny(Reason.HOST_OUTSIDE_PREFIXES, "protocol address", str(request.protocol_address),
                        "a host behind the peer: it is this node's, or the peer's NBMA address")  # fmt: skip
        host = ip_network(request.protocol_address)
        peers = [
            replace(self._peer(replace(request, protocol_address=address), verdict, entitled), prefixes=(host,))
            for address in entitled.protocol_addresses
            if contains(verdict.rules.tunnel_networks, address)
        ]
        held = [holders(peer) for peer in peers]
        if all(held) and verdict.rules.on_conflict is not OnConflict.TAKE_OVER:
            return _conflict(peers[0], held[0][0])
        return Accept(None, behind=peers[0])

    def _peer(self, request: BindingRequest, verdict: _Verdict, entitled: Authorization) -> Peer:
        certificate = request.certificate if isinstance(request.certificate, Certificate) else None
        quarantined = maintenance_of(request, self.policy, Action.QUARANTINE) is not None
        ike_peer = None if certificate else next(iter(request.ike_peers or ()), None)
        ike_identity = ike_peer.identity if ike_peer else ""
        named = certificate or ike_peer
        return Peer(
            protocol_address=request.protocol_address,
            nbma_address=request.nbma_address,
            interface=request.interface,
            as_number=None if quarantined else entitled.as_number,
            prefixes=() if quarantined else entitled.prefixes,
            fingerprint=certificate.fingerprint if certificate else "",
            subject=certificate.subject if certificate else ike_identity,
            not_after=certificate.not_after if certificate else None,
            kind=verdict.kind,
            identity=verdict.identity or f"ike:{ike_identity}",
            quarantined=quarantined,
            max_prefix_length=verdict.rules.max_prefix_length,
            transit=verdict.rules.transit_networks() if verdict.rules.transit and not quarantined else None,
            withheld=_withheld(verdict.rules, entitled),
            default_route=verdict.rules.allows_default_route,
            label=named.label if named else None,
            site=verdict.site,
        )


def _site(subject: _Subject, chain: Chain | None, entitled: Authorization) -> str:
    """Return what two peers must have in common to share prefixes, empty for a peer that shares with nobody.

    The key that issued their certificates, the site in their subjects, and all of their prefixes.
    """
    if subject.rules.on_conflict is not OnConflict.SHARE or subject.certificate is None or chain is None:
        return ""
    issuer = chain.issuers[0].key
    if not (issuer and subject.certificate.site and entitled.prefixes):
        return ""
    prefixes = sorted(str(prefix) for prefix in entitled.prefixes)
    return " ".join((hashlib.sha256(issuer).hexdigest(), subject.certificate.site, *prefixes))


def _withheld(rules: Rules, entitled: Authorization) -> tuple[Network, ...]:
    """Return what nothing may overlap of what a peer announces.

    A peer's own prefixes overlap none of it, by the rules, but for a default route. One that carries others' prefixes
    has routes to the protocol addresses.
    """
    if rules.transit:
        return rules.forbidden_networks
    if any(prefix.prefixlen == 0 for prefix in entitled.prefixes):
        return *rules.tunnel_networks, *rules.forbidden_networks
    return ()


def _address_rules(
    address: Address, own: frozenset[Address], rules: Rules, entitled: Authorization
) -> Iterator[Rule]:
    """Yield the rules over the address that is asked for; ``own`` are addresses of this node."""
    in_tunnel = contains(rules.tunnel_networks, address)
    if rules.allows_hosts and not in_tunnel:
        # What a peer carries for others need not lie in allowed networks; what it may announce does.
        transit_networks = entitled.transit_networks if contains(rules.allowed_networks, address) else ()
        behind = (*entitled.prefixes, *transit_networks)
        held = contains(behind, address) and not contains(rules.forbidden_networks, address)
        yield Rule(Reason.HOST_OUTSIDE_PREFIXES, held, "prefixes", CommaList(behind),
                   "a prefix that has the host, which is not forbidden: ", address)  # fmt: skip
        possible = any(
            contains(rules.tunnel_networks, one) and not why_reserved(one, rules.tunnel_networks, own)
            for one in entitled.protocol_addresses
        )
        yield Rule(Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL, possible, entitled.where, entitled.written,
                   "a protocol address of the peer itself in ", OrList(rules.tunnel_networks))  # fmt: skip
        return
    named = address in entitled.protocol_addresses
    yield Rule(Reason.PROTOCOL_ADDRESS_MISMATCH, named, entitled.where, entitled.written,
               "the protocol address the peer registers: ", address)  # fmt: skip
    yield Rule(Reason.PROTOCOL_ADDRESS_OUTSIDE_TUNNEL, in_tunnel, "protocol address", address,
               "an address in ", OrList(rules.tunnel_networks))  # fmt: skip
    why = why_reserved(address, rules.tunnel_networks, own)
    yield Rule(Reason.PROTOCOL_ADDRESS_RESERVED, not why, "protocol address", address,
               "an address that a peer can have; ", why or "it is neither this node's nor its network's")  # fmt: skip


def _texts(rule: Rule) -> tuple[str, str]:
    return str(rule.found), f"{rule.expected}{rule.about}"


def _deny(rule: Rule) -> Deny:
    return Deny(rule.reason, rule.field, *_texts(rule))


def nbma_conflict(peer: Peer, holder: Peer) -> Deny:
    """Return the denial of a peer at whose NBMA address another one is already: the kernel would mix them up."""
    expected = (
        f"an NBMA address for itself: {holder.subject} ({holder.protocol_address}) has an IKE_SA with it;"
        " of two peers behind one NAT address only the first can be served, see docs/nat.md"
    )
    return Deny(Reason.NBMA_ADDRESS_CONFLICT, "NBMA address", str(peer.nbma_address), expected)


def _conflict(peer: Peer, holder: Peer) -> Deny:
    expected = f"what no other live peer holds: {holder.subject} ({holder.protocol_address}) has it"
    if holder.protocol_address == peer.protocol_address:
        address = str(peer.protocol_address)
        return Deny(Reason.PROTOCOL_ADDRESS_CONFLICT, "protocol address", address, expected)
    shared = [prefix for prefix in peer.prefixes if any(overlap(prefix, other) for other in holder.prefixes)]
    return Deny(Reason.PREFIX_CONFLICT, "prefixes", str(CommaList(shared)), expected)
