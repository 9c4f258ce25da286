"""Whether a certificate comes from one of the operator's CAs, and nobody between it and the trust anchor objects.

RFC 5280, section 6, as far as the operator's CA certificates and CRLs go, and RFC 3779, section 2.3. A CA that has
several certificates gives several chains; one that passes every rule is enough.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from dmvpn_agent.core.entitlement import Rule
from dmvpn_agent.core.model import Certificate, Reason, Resources
from dmvpn_agent.core.policy import Chain, Issuer, Policy, RevocationList, Trust, matches
from dmvpn_agent.core.resources import Delegated, delegated

#: Of how many certificates it is remembered what they hold.
REMEMBERED = 16384


class Verified(NamedTuple):
    """The chain by which a certificate is judged, ``None`` where there is none, and the rules over it.

    ``resources``: what the certificate holds by RFC 3779, with what it leaves to its issuers filled in.
    """

    chain: Chain | None
    rules: tuple[Rule, ...]
    resources: Resources


class Verifier:
    """Looks at the chains of certificates; remembers what each holds by RFC 3779."""

    def __init__(self, policy: Policy, trust: Trust) -> None:
        self._policy = policy
        self._trust = trust
        self._delegated: dict[tuple[str, str], Delegated] = {}

    def verify(self, certificate: Certificate, now: datetime) -> Verified:
        """Return the first chain that passes every rule; where none does, the one that comes furthest."""
        if not self._trust.asks_for_chains:
            return Verified(None, self._without_authorities(certificate), delegated(certificate, ()).resources)
        chains = self._trust.finder.chains(certificate)
        if not chains.found:
            return Verified(None, (_no_chain(certificate, chains.why),), delegated(certificate, ()).resources)
        verified = [self._along(certificate, chain, now) for chain in chains.found]
        return max(verified, key=_passed)

    def _without_authorities(self, certificate: Certificate) -> tuple[Rule, ...]:
        if not self._policy.requires_crl:
            return ()
        return (Rule(Reason.REVOCATION_UNKNOWN, False, "CRL", "none", "one that is not outdated, of ",
                     certificate.issuer or "the issuer"),)  # fmt: skip

    def _along(self, certificate: Certificate, chain: Chain, now: datetime) -> Verified:
        held = self._held(certificate, chain)
        return Verified(chain, tuple(self._rules(certificate, chain, held, now)), held.resources)

    def _held(self, certificate: Certificate, chain: Chain) -> Delegated:
        key = certificate.fingerprint, chain.key
        if (held := self._delegated.get(key)) is None:
            if len(self._delegated) >= REMEMBERED:
                self._delegated.clear()
            held = delegated(certificate, [issuer.certificate for issuer in chain.issuers])
            self._delegated[key] = held
        return held

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


def _passed(verified: Verified) -> tuple[bool, int]:
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
    lists = [crl for crl in issuer.revocations if crl.signed_by_issuer] or list(issuer.revocations)
    found = " and ".join(map(_described, lists)) or "none"
    return Rule(Reason.REVOCATION_UNKNOWN, any(crl.is_current(now) for crl in lists), "CRL", found,
                "one that is not outdated, of ", issuer.certificate.subject)  # fmt: skip


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
