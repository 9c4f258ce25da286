"""The rules about a certificate's chain: CAs, CRLs (RFC 5280, section 6) and RFC 3779 resources (section 2.3).

They use the operator's CA certificates and CRLs only. A CA with several certificates gives several chains; one chain
that passes every rule is enough.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from dmvpn_agent.policy.check import Check
from dmvpn_agent.policy.reasons import Reason
from dmvpn_agent.policy.rules import Policy, matches
from dmvpn_agent.x509.certificate import Certificate, Resources
from dmvpn_agent.x509.rfc3779_chain import HeldResources, held_resources
from dmvpn_agent.x509.trust import Chain, Issuer, Trust, VerifiedCrl

#: How many valid certificates are cached.
CACHE_SIZE = 16384


class ChainValidation(NamedTuple):
    """The checks of a certificate's chain; ``chain`` is ``None`` if there is no chain.

    ``resources``: what the certificate holds by RFC 3779, with inherited resources filled in.
    """

    chain: Chain | None
    checks: tuple[Check, ...]
    resources: Resources


class _CachedValidation(NamedTuple):
    """A validation that passed, and the period in which the clock alone cannot change its result."""

    validation: ChainValidation
    since: datetime
    until: datetime


class ChainValidator:
    """Validates certificates, and caches those that passed, because every peer is judged again and again."""

    def __init__(self, policy: Policy, trust: Trust) -> None:
        self._policy = policy
        self._trust = trust
        self._cache: dict[str, _CachedValidation] = {}

    def validate(self, certificate: Certificate, now: datetime) -> ChainValidation:
        """Return the validation by a chain that passes every rule; if none does, by the one that fails latest."""
        if not self._trust.requires_chain:
            return ChainValidation(None, self._checks_without_cas(certificate), _resources(certificate))
        cached = self._cache.get(certificate.fingerprint)
        if cached is not None and cached.since <= now <= cached.until:
            return cached.validation
        chains = self._trust.finder.chains(certificate)
        if not chains.found:
            return ChainValidation(None, (_no_chain(certificate, chains.why),), _resources(certificate))
        best = max((self._validate_by(chain, certificate, now) for chain in chains.found), key=_progress)
        if best.chain is not None and all(check.passed for check in best.checks):
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[certificate.fingerprint] = _CachedValidation(best, *self._period(best.chain, now))
        return best

    def valid_until(self, certificate: Certificate) -> datetime | None:
        """Return until when the clock alone cannot invalidate the chain; ``None`` if no chain passed lately."""
        if not self._trust.requires_chain:
            return certificate.not_after
        cached = self._cache.get(certificate.fingerprint)
        return cached.until if cached else None

    def _period(self, chain: Chain, now: datetime) -> tuple[datetime, datetime]:
        """Return from when to when a chain that is valid now is valid."""
        since = [issuer.certificate.not_before for issuer in chain.issuers]
        until = [issuer.certificate.not_after for issuer in chain.issuers]
        if self._policy.requires_crl:
            for issuer in chain.issuers:
                current = [crl for crl in _decisive_crls(issuer) if crl.is_current(now)]
                since.append(min(crl.this_update for crl in current))
                until.append(min(crl.current_until for crl in current if crl.current_until is not None))
        return min(max(since), now), min(until)

    def _checks_without_cas(self, certificate: Certificate) -> tuple[Check, ...]:
        if not self._policy.requires_crl:
            return ()
        return (Check(Reason.REVOCATION_UNKNOWN, False, "CRL", "none", "a current CRL of ",
                      certificate.issuer or "the issuer"),)  # fmt: skip

    def _validate_by(self, chain: Chain, certificate: Certificate, now: datetime) -> ChainValidation:
        held = held_resources(certificate, [issuer.certificate for issuer in chain.issuers])
        return ChainValidation(chain, tuple(self._checks(certificate, chain, held, now)), held.resources)

    def _checks(self, certificate: Certificate, chain: Chain, held: HeldResources, now: datetime) -> Iterator[Check]:
        anchor = chain.issuers[-1]
        yield Check(Reason.UNTRUSTED_ISSUER, True, "issuer", certificate.issuer, "a chain of valid signatures to ",
                    anchor.certificate.subject)  # fmt: skip
        for issuer in chain.issuers:
            yield _validity_check(issuer.certificate, now)
        yield from _revocation_checks(Reason.CERTIFICATE_REVOKED, "serial", certificate, chain.issuers[0])
        links = [*pairwise(chain.issuers), *([(anchor, anchor)] if chain.self_signed else ())]
        for below, above in links:
            field = f"serial of {below.certificate.subject}"
            yield from _revocation_checks(Reason.ISSUER_REVOKED, field, below.certificate, above)
        if self._policy.requires_crl:
            for issuer in chain.issuers:
                yield _current_crl_check(issuer, now)
        yield from self._overclaim_checks(held)

    def _overclaim_checks(self, held: HeldResources) -> Iterator[Check]:
        for holder, issuer, field, text in held.excess:
            allowed = any(matches(pattern, (issuer,)) for pattern in self._policy.overclaiming_issuers)
            yield Check(Reason.RESOURCES_EXCEED_ISSUER, allowed, field, f"{text} in {holder}",
                        "resources that its issuer holds: ", issuer)  # fmt: skip


def _resources(certificate: Certificate) -> Resources:
    return held_resources(certificate, ()).resources


def _progress(validation: ChainValidation) -> tuple[bool, int]:
    failed = [place for place, check in enumerate(validation.checks) if not check.passed]
    return not failed, failed[0] if failed else 0


def _no_chain(certificate: Certificate, why: str) -> Check:
    return Check(Reason.UNTRUSTED_ISSUER, False, "issuer", f"{certificate.issuer or 'empty'}; {why}",
                 "a chain of valid signatures to a CA in policy.ca_certificates")  # fmt: skip


def _validity_check(issuer: Certificate, now: datetime) -> Check:
    return Check(
        Reason.ISSUER_NOT_VALID, issuer.not_before <= now <= issuer.not_after, f"validity of {issuer.subject}",
        f"{issuer.not_before} to {issuer.not_after}", "a period that includes the current time, ", now,
    )  # fmt: skip


def _revocation_checks(reason: Reason, field: str, certificate: Certificate, issuer: Issuer) -> Iterator[Check]:
    """Yield a check for each CRL of the issuer; an outdated CRL revokes too."""
    serial = certificate.serial
    for crl in issuer.crls:
        yield Check(reason, serial not in crl.serials, field, _HexSerial(serial),
                    "a serial number that is not in the CRL of ", crl.issuer)  # fmt: skip


def _current_crl_check(issuer: Issuer, now: datetime) -> Check:
    crls = _decisive_crls(issuer)
    found = " and ".join(map(_description, crls)) or "none"
    return Check(Reason.REVOCATION_UNKNOWN, any(crl.is_current(now) for crl in crls), "CRL", found,
                 "a current CRL of ", issuer.certificate.subject)  # fmt: skip


def _decisive_crls(issuer: Issuer) -> tuple[VerifiedCrl, ...]:
    """Return the CRLs of which one must be current: those that the issuer's own key signed, if there are any."""
    return tuple(crl for crl in issuer.crls if crl.signed_by_issuer) or issuer.crls


def _description(crl: VerifiedCrl) -> str:
    if crl.next_update is None:
        return "one without nextUpdate"
    if crl.current_until is None:
        return "one whose signer's keyUsage has no cRLSign"
    return f"one of {crl.this_update}, current until {crl.current_until}"


class _HexSerial(int):
    """A serial number as openssl and pki print it."""

    def __str__(self) -> str:
        return f"{int(self):x}"
