"""Whether a certificate comes from one of the operator's CAs, and nobody between it and the trust anchor objects.

RFC 5280, section 6, as far as the operator's CA certificates and CRLs go, and RFC 3779, section 2.3. A CA that has
several certificates gives several chains; one that passes every rule is enough.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from dmvpn_agent.policy.authorization_rules import Rule
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.resources import Delegated, delegated
from dmvpn_agent.policy.rules import Policy, matches
from dmvpn_agent.x509.certificate import Certificate, Resources
from dmvpn_agent.x509.trust import Chain, Issuer, RevocationList, Trust

#: Of how many certificates it is remembered that they passed.
REMEMBERED = 16384


class ChainValidation(NamedTuple):
    """The chain by which a certificate is judged, ``None`` where there is none, and the rules over it.

    ``resources``: what the certificate holds by RFC 3779, with what it leaves to its issuers filled in.
    """

    chain: Chain | None
    rules: tuple[Rule, ...]
    resources: Resources


class _Passed(NamedTuple):
    """A certificate that passed, and from when to when nothing but other CAs, CRLs or rules can change that."""

    verified: ChainValidation
    since: datetime
    until: datetime


class ChainValidator:
    """Looks at the chains of certificates; remembers those that passed, as everybody is judged again and again."""

    def __init__(self, policy: Policy, trust: Trust) -> None:
        self._policy = policy
        self._trust = trust
        self._passed: dict[str, _Passed] = {}

    def validate(self, certificate: Certificate, now: datetime) -> ChainValidation:
        """Return the first chain that passes every rule; where none does, the one that comes furthest."""
        if not self._trust.requires_chain:
            return ChainValidation(None, self._without_authorities(certificate), delegated(certificate, ()).resources)
        known = self._passed.get(certificate.fingerprint)
        if known is not None and known.since <= now <= known.until:
            return known.verified
        chains = self._trust.finder.chains(certificate)
        if not chains.found:
            return ChainValidation(None, (_no_chain(certificate, chains.why),), delegated(certificate, ()).resources)
        best = max((self._along(certificate, chain, now) for chain in chains.found), key=_progress)
        if best.chain is not None and all(rule.passed for rule in best.rules):
            if len(self._passed) >= REMEMBERED:
                self._passed.clear()
            self._passed[certificate.fingerprint] = _Passed(best, *self._span(best.chain, now))
        return best

    def _span(self, chain: Chain, now: datetime) -> tuple[datetime, datetime]:
        """Return from when to when a chain that passes now does so."""
        since = [issuer.certificate.not_before for issuer in chain.issuers]
        until = [issuer.certificate.not_after for issuer in chain.issuers]
        if self._policy.requires_crl:
            for issuer in chain.issuers:
                current = [crl for crl in _answering(issuer) if crl.is_current(now)]
                since.append(min(crl.this_update for crl in current))
                until.append(min(crl.counts_until for crl in current if crl.counts_until is not None))
        return min(max(since), now), min(until)

    def _without_authorities(self, certificate: Certificate) -> tuple[Rule, ...]:
        if not self._policy.requires_crl:
            return ()
        return (Rule(Reason.REVOCATION_UNKNOWN, False, "CRL", "none", "one that is not outdated, of ",
                     certificate.issuer or "the issuer"),)  # fmt: skip

    def _along(self, certificate: Certificate, chain: Chain, now: datetime) -> ChainValidation:
        held = delegated(certificate, [issuer.certificate for issuer in chain.issuers])
        return ChainValidation(chain, tuple(self._rules(certificate, chain, held, now)), held.resources)

    def _rules(self, certificate: Certificate, chain: Chain, held: Delegated, now: datetime) -> Iterator[Rule]:
        anchor = chain.issuers[-1]
        yield Rule(Reason.UNTRUSTED_ISSUER, True, "issuer", certificate.issuer, "a chain to ",
                   anchor.certificate.subject)  # fmt: skip
        for issuer in chain.issuers:
            yield _valid(issuer.certificate, now)
        yield from _revoked(Reason.CERTIFICATE_REVOKED, "serial", certificate, chain.issuers[0])
        links = [*pairwise(chain.issuers), *([(anchor, anchor)] if chain.self_signed else ())]
        for below, above in links:
            field = f"serial of {below.certificate.subject}"
            yield from _revoked(Reason.ISSUER_REVOKED, field, below.certificate, above)
        if self._policy.requires_crl:
            for issuer in chain.issuers:
                yield _known(issuer, now)
        yield from self._within(held)

    def _within(self, held: Delegated) -> Iterator[Rule]:
        for holder, by, field, text in held.excess:
            allowed = any(matches(pattern, (by,)) for pattern in self._policy.overclaiming_issuers)
            yield Rule(Reason.RESOURCES_EXCEED_ISSUER, allowed, field, f"{text} in {holder}",
                       "what its issuer holds: ", by)  # fmt: skip


def _progress(verified: ChainValidation) -> tuple[bool, int]:
    failed = [place for place, rule in enumerate(verified.rules) if not rule.passed]
    return not failed, failed[0] if failed else 0


def _no_chain(certificate: Certificate, why: str) -> Rule:
    return Rule(Reason.UNTRUSTED_ISSUER, False, "issuer", f"{certificate.issuer or 'empty'}; {why}",
                "a chain of signatures to a CA in policy.ca_certificates")  # fmt: skip


def _valid(issuer: Certificate, now: datetime) -> Rule:
    return Rule(
        Reason.ISSUER_NOT_VALID, issuer.not_before <= now <= issuer.not_after, f"validity of {issuer.subject}",
        f"{issuer.not_before} to {issuer.not_after}", "a time that includes ", now,
    )  # fmt: skip


def _revoked(reason: Reason, field: str, certificate: Certificate, issuer: Issuer) -> Iterator[Rule]:
    """Yield whether each list leaves a certificate alone, however old the list is."""
    serial = certificate.serial
    for crl in issuer.revocations:
        yield Rule(reason, serial not in crl.serials, field, _Hexadecimal(serial),
                   "a serial number that is not in the CRL of ", crl.issuer)  # fmt: skip


def _known(issuer: Issuer, now: datetime) -> Rule:
    """Return whether a list shows who is not revoked by an issuer: its own if it signs any, else another's for it."""
    lists = _answering(issuer)
    found = " and ".join(map(_described, lists)) or "none"
    return Rule(Reason.REVOCATION_UNKNOWN, any(crl.is_current(now) for crl in lists), "CRL", found,
                "one that is not outdated, of ", issuer.certificate.subject)  # fmt: skip


def _answering(issuer: Issuer) -> tuple[RevocationList, ...]:
    return tuple(crl for crl in issuer.revocations if crl.signed_by_issuer) or issuer.revocations


def _described(crl: RevocationList) -> str:
    if crl.next_update is None:
        return "one without nextUpdate"
    if crl.counts_until is None:
        return "one of a signer whose keyUsage is without cRLSign"
    return f"one of {crl.this_update}, to be renewed by {crl.counts_until}"


class _Hexadecimal(int):
    """A serial number as openssl and pki print it."""

    def __str__(self) -> str:
        return f"{int(self):x}"
