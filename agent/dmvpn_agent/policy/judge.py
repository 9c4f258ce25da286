"""The decision: may this binding be made, and what is its peer entitled to?

A pure function of the request, the operator's policy, the CAs and CRLs, and the time. The first rule that fails
denies; ``Reason`` lists the rules in their order. ``conflict_rules`` then decides by what other peers hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import NamedTuple

from dmvpn_agent.addresses import Address, contains
from dmvpn_agent.policy.accepted_peer import accepted_peer, site_key
from dmvpn_agent.policy.address_rules import requested_address_checks
from dmvpn_agent.policy.authentication_rules import authentication_checks, maintenance_of, static_peer_of
from dmvpn_agent.policy.authorization_rules import Authorization, authorization, resource_checks
from dmvpn_agent.policy.chain_rules import ChainValidation, ChainValidator
from dmvpn_agent.policy.check import Check
from dmvpn_agent.policy.decision import Accept, Decision, Deny
from dmvpn_agent.policy.peer import Peer, PeerKind
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.request import BindingRequest, BindingType
from dmvpn_agent.policy.resources import CombinedResources, effective_resources, role_of
from dmvpn_agent.policy.routing_rules import routing_checks
from dmvpn_agent.policy.rules import Action, Policy, Rules, StaticPeer
from dmvpn_agent.x509.certificate import Certificate, Resources, Role
from dmvpn_agent.x509.trust import Trust

#: How many authorization results are cached: a peer registers again within minutes, or not for hours.
CACHE_SIZE = 2048


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with every check.

    ``kind`` and ``resources`` are what was judged; ``kind`` is ``None`` if no rules apply to the request.
    """

    decision: Decision
    checks: tuple[Check, ...]
    kind: PeerKind | None
    resources: Resources


class _Candidate(NamedTuple):
    """A peer to authorize: the rules for its kind, and the resources that count."""

    rules: Rules
    kind: PeerKind
    combined: CombinedResources
    certificate: Certificate | None


class _Result(NamedTuple):
    """The cached result of authorization for one address; ``failed`` is the first check that did not pass."""

    rules: Rules
    kind: PeerKind
    site: str
    in_tunnel: bool
    authorized: Authorization
    failed: Check | None


class _Key(NamedTuple):
    """All that a result depends on, besides policy and trust.

    ``row`` is the whole row, because two rows of the static table can have the same pattern. ``chain``:
    ``Chain.key``.
    """

    fingerprint: str
    chain: str
    row: StaticPeer | None
    interface: str
    to_nhs: bool
    address: Address
    own: frozenset[Address]


class Judge:
    """A policy with the trust it rests on. It caches results for certificates, and keeps no other state."""

    def __init__(self, policy: Policy, trust: Trust) -> None:
        self.policy = policy
        self.trust = trust
        self._validator = ChainValidator(policy, trust)
        self._results: dict[_Key, _Result] = {}

    def decide(self, request: BindingRequest, now: datetime) -> Decision:
        """Decide on one binding at the time ``now`` (aware, UTC); no input from a peer makes it raise."""
        row = static_peer_of(request, self.policy)
        validation = self._validate(request, now)
        for check in authentication_checks(request, row, self.policy, validation.checks, now):
            if not check.passed:
                return Deny.by(check)
        result = self._authorize(request, row, validation)
        if result is None:
            return Deny(Reason.INTERNAL_ERROR, "peer", "not judged", "a certificate or a row of the static table")
        if result.failed is not None:
            return Deny.by(result.failed)
        if not result.in_tunnel:
            return self._decide_host(request, result)
        return Accept(self._peer(request, result))

    def authorized_peer(self, request: BindingRequest, now: datetime) -> Peer | None:
        """Return the peer that a request is by, also if its authentication fails now, as by a revoked certificate.

        ``None`` if the policy entitles it to nothing.
        """
        result = self._authorize(request, static_peer_of(request, self.policy), self._validate(request, now))
        return self._peer(request, result) if result and result.failed is None and result.in_tunnel else None

    def accepted_until(self, request: BindingRequest) -> datetime | None:
        """Return until when the clock alone cannot deny a request that is accepted now; ``None`` if unknown."""
        certificate = request.certificate
        if not isinstance(certificate, Certificate):
            return datetime.max.replace(tzinfo=UTC)
        until = self._validator.valid_until(certificate)
        return until and min(until, certificate.not_after)

    def explain(self, request: BindingRequest, now: datetime) -> Explanation:
        """Decide, and return every check, also those after a failed one as far as they can be evaluated."""
        row = static_peer_of(request, self.policy)
        validation = self._validate(request, now)
        checks = list(authentication_checks(request, row, self.policy, validation.checks, now))
        candidate = self._candidate(request, row, validation)
        resources = Resources()
        if candidate is not None:
            resources = candidate.combined.resources
            checks += self._authorization_checks(candidate, request, authorization(resources, candidate.rules))
        decision = self.decide(request, now)
        if isinstance(decision, Deny) and all(check.passed for check in checks):
            checks.append(Check(decision.reason, False, decision.field, decision.found, decision.expected))
        return Explanation(decision, tuple(checks), candidate.kind if candidate else None, resources)

    def _validate(self, request: BindingRequest, now: datetime) -> ChainValidation:
        if isinstance(request.certificate, Certificate):
            return self._validator.validate(request.certificate, now)
        return ChainValidation(None, (), Resources())

    def _candidate(
        self, request: BindingRequest, row: StaticPeer | None, validation: ChainValidation
    ) -> _Candidate | None:
        certificate = request.certificate if isinstance(request.certificate, Certificate) else None
        if certificate is None and row is None:
            return None
        combined = effective_resources(certificate, row, self.policy, validation.resources)
        kind = self._kind(request.binding_type, role_of(combined.resources))
        rules = self.policy.rules.get(request.interface)
        return None if rules is None else _Candidate(rules[kind], kind, combined, certificate)

    def _kind(self, binding_type: BindingType, role: Role) -> PeerKind:
        hub, other = self.policy.kinds
        return hub if binding_type is BindingType.NHS or role is Role.HUB else other

    def _authorization_checks(
        self, candidate: _Candidate, request: BindingRequest, authorized: Authorization
    ) -> Iterator[Check]:
        rules, resources = candidate.rules, candidate.combined.resources
        yield from resource_checks(candidate.combined, candidate.certificate, candidate.kind, rules)
        yield from requested_address_checks(request.protocol_address, request.local_addresses, rules, authorized)
        yield from routing_checks(resources, rules, self.policy.own_as_number_towards(candidate.kind))

    def _authorize(
        self, request: BindingRequest, row: StaticPeer | None, validation: ChainValidation
    ) -> _Result | None:
        certificate, address = request.certificate, request.protocol_address
        fingerprint = certificate.fingerprint if isinstance(certificate, Certificate) else ""
        chain = validation.chain.key if validation.chain else ""
        to_nhs = request.binding_type is BindingType.NHS
        key = _Key(fingerprint, chain, row, request.interface, to_nhs, address, request.local_addresses)
        if (cached := self._results.get(key)) is not None:
            return cached
        candidate = self._candidate(request, row, validation)
        if candidate is None:
            return None
        authorized = authorization(candidate.combined.resources, candidate.rules)
        checks = self._authorization_checks(candidate, request, authorized)
        result = _Result(
            rules=candidate.rules,
            kind=candidate.kind,
            site=site_key(candidate.rules, candidate.certificate, validation.chain, authorized),
            in_tunnel=contains(candidate.rules.tunnel_networks, address),
            authorized=authorized,
            failed=next((check for check in checks if not check.passed), None),
        )
        if len(self._results) >= CACHE_SIZE:
            self._results.clear()
        self._results[key] = result
        return result

    def _decide_host(self, request: BindingRequest, result: _Result) -> Decision:
        """Decide on a host behind a peer, which must itself be acceptable now."""
        quarantine = maintenance_of(request, self.policy, Action.QUARANTINE)
        if quarantine is not None:
            return Deny(Reason.DENIED_BY_MAINTENANCE, "maintenance", str(quarantine),
                        "no quarantine of the peer that the host is behind")  # fmt: skip
        ends = {*request.local_addresses, request.nbma_address, request.local_nbma_address}
        if request.protocol_address in ends:
            return Deny(Reason.HOST_OUTSIDE_PREFIXES, "protocol address", str(request.protocol_address),
                        "a host behind the peer, which is neither this node nor the peer's NBMA address")  # fmt: skip
        host = ip_network(request.protocol_address)
        peers = tuple(
            replace(self._peer(replace(request, protocol_address=address), result), prefixes=(host,))
            for address in result.authorized.protocol_addresses
            if contains(result.rules.tunnel_networks, address)
        )
        return Accept(None, behind=peers)

    def _peer(self, request: BindingRequest, result: _Result) -> Peer:
        peer = accepted_peer(
            request, result.kind, result.rules, result.authorized, result.site, self.policy.groups
        )  # fmt: skip
        return peer.in_quarantine() if maintenance_of(request, self.policy, Action.QUARANTINE) else peer
