"""Which CRLs are in force, and which apply to the certificates of a CA.

A CRL is in force if one of the operator's CAs signed it, or a CRL signer with the CA's name below the same trust
anchor (RFC 5280, section 6.3.3, f).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from dmvpn_agent.x509.authorities import Authority
from dmvpn_agent.x509.ca_index import CaIndex
from dmvpn_agent.x509.ca_paths import CaPaths
from dmvpn_agent.x509.crl import Crl
from dmvpn_agent.x509.trust import VerifiedCrl


class UnusedCrl(NamedTuple):
    """A CRL that is not in force, and why, for an operator."""

    crl: Crl
    why: str


class SignedCrl(NamedTuple):
    """A CRL with the key that signed it (``Authority.key``)."""

    crl: Crl
    key: bytes


class CrlIndex:
    """The CRLs in force (``signed``) and the others (``unused``). It does not change."""

    def __init__(self, crls: Iterable[Crl], index: CaIndex, paths: CaPaths) -> None:
        self._index = index
        self._paths = paths
        self._applying: dict[tuple[str, str], tuple[VerifiedCrl, ...]] = {}
        self.signed: list[SignedCrl] = []
        self.unused: list[UnusedCrl] = []
        for crl in crls:
            self._add(crl)

    def _add(self, crl: Crl) -> None:
        if crl.signature.refused:
            self.unused.append(UnusedCrl(crl, f"is {crl.signature.refused}"))
            return
        among = [one for one in self._index.named(crl.name) if self._paths.anchors_of(one)]
        key = self._index.signer(crl.digest, crl.signature, crl.key_id, among)
        if key is None:
            why = "is not signed by a CA in policy.ca_certificates; add the certificate of its signer there"
            self.unused.append(UnusedCrl(crl, why))
        else:
            self.signed.append(SignedCrl(crl, key))

    def all(self) -> tuple[VerifiedCrl, ...]:
        """Return all CRLs in force, for display."""
        return tuple(_verified_crl(one.crl, one.crl.next_update) for one in self.signed)

    def applying_to(self, issuer: Authority, anchor: Authority) -> tuple[VerifiedCrl, ...]:
        """Return the CRLs for the certificates that a CA issued, in a chain to this trust anchor."""
        key = issuer.certificate.fingerprint, anchor.certificate.fingerprint
        if key not in self._applying:
            found = ((one.crl, self._best_signer(one, issuer, anchor)) for one in self.signed)
            self._applying[key] = tuple(
                self._verified(crl, signer, issuer) for crl, signer in found if signer is not None
            )
        return self._applying[key]

    def _best_signer(self, signed: SignedCrl, issuer: Authority, anchor: Authority) -> Authority | None:
        """Return the best certificate of a CRL's signer; ``None`` if the CRL is not for this issuer."""
        if signed.crl.name != issuer.name:
            return None
        signers = [one for one in self._index.named(signed.crl.name) if one.key == signed.key]
        if signed.key != issuer.key:
            signers = [one for one in signers if (anchor.name, anchor.key) in self._paths.anchors_of(one)]
        return max(signers, key=lambda one: (one.signs_crls, one.certificate.not_after), default=None)

    def _verified(self, crl: Crl, signer: Authority, issuer: Authority) -> VerifiedCrl:
        until = crl.next_update if signer.signs_crls else None
        own = signer.key == issuer.key
        if until is not None and not own:
            until = None if self._is_revoked(signer) else min(until, signer.certificate.not_after)
        return _verified_crl(crl, until, signed_by_issuer=own)

    def _is_revoked(self, signer: Authority) -> bool:
        """Tell whether one of the signer's issuers revoked it."""
        issuers = {(one.name, one.key) for one in self._index.issuers_of(signer)}
        serial = signer.certificate.serial
        return any((one.crl.name, one.key) in issuers and serial in one.crl.serials for one in self.signed)


def _verified_crl(crl: Crl, current_until: datetime | None, *, signed_by_issuer: bool = True) -> VerifiedCrl:
    """Return a CRL as the policy sees it."""
    return VerifiedCrl(
        crl.issuer, crl.number, crl.this_update, crl.next_update, crl.serials, current_until, signed_by_issuer
    )
