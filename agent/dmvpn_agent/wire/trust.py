"""Signatures: whether a revocation list and a certificate come from authorities that the operator named.

charon has verified the chain of every peer, at the time and by the authorities of its own configuration. Here it is
only asked which authority a certificate comes from; whether a CA certificate is valid at the moment is not.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from dmvpn_agent.core.model import BadCertificate, Certificate
from dmvpn_agent.wire.certificate import MAX_CERTIFICATE_BYTES, read_certificate
from dmvpn_agent.wire.claims import shown
from dmvpn_agent.wire.crl import Crl
from dmvpn_agent.wire.der import Malformed
from dmvpn_agent.wire.name import UNREADABLE, issuer_and_subject
from dmvpn_agent.wire.pem import PemError, der_blocks

MAX_AUTHORITY_BYTES = 1024 * 1024
#: CA certificates in one chain, the authority included.
MAX_DEPTH = 5
#: Signatures that are verified for one question: chains are short, and many CAs of one name are no chain.
MAX_VERIFICATIONS = 20

_REFUSED = (*UNREADABLE, InvalidSignature, Malformed)


class AuthorityError(Exception):
    """A file holds something else than CA certificates; the text says what, for an operator."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate that the operator trusts."""

    certificate: Certificate
    loaded: x509.Certificate = field(repr=False, compare=False)


def read_authorities(data: bytes) -> tuple[Authority, ...]:
    """Read the CA certificates of one file, DER or PEM. Raises ``AuthorityError``."""
    try:
        return tuple(_authority(der) for der in der_blocks(data, "CERTIFICATE", MAX_AUTHORITY_BYTES))
    except PemError as error:
        raise AuthorityError(str(error)) from error


def _authority(der: bytes) -> Authority:
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        raise AuthorityError(f"it is no certificate that can be read: {certificate.why}")
    loaded = x509.load_der_x509_certificate(der)
    if not _may_issue(loaded, 0):
        raise AuthorityError(f"{shown(certificate.subject)} is no CA: CA:TRUE, and keyCertSign if it has a keyUsage")
    return Authority(certificate, loaded)


def signed_by(crl: Crl, authorities: Iterable[Authority]) -> bool:
    """Tell whether a revocation list was issued by one of the authorities.

    As charon does, one without cRLSign in its keyUsage may sign the list of its own certificates.
    """
    return any(
        _verifies(crl.signed, authority.loaded)
        for authority in authorities
        if authority.certificate.subject_name == crl.issuer_name
    )


def _verifies(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except _REFUSED:
        return False


def chains_to(
    der: bytes, candidates: Iterable[bytes], authorities: Sequence[Authority], depth: int = MAX_DEPTH
) -> bool:
    """Tell whether a certificate comes from an authority, directly or through CA certificates among ``candidates``.

    ``candidates`` are DER; what cannot be read is passed over. ``depth``: how many CA certificates the chain may
    have, the authority included.
    """
    search = _Search(tuple(_links(candidates)), authorities)
    return any(search.reaches(link, depth) for link in _links([der]))


@dataclass(frozen=True, slots=True)
class _Link:
    """A certificate as part of a chain."""

    loaded: x509.Certificate
    subject: bytes
    issuer: bytes


def _links(certificates: Iterable[bytes]) -> Iterator[_Link]:
    """Yield the certificates that can be read."""
    for der in certificates:
        if len(der) <= MAX_CERTIFICATE_BYTES:
            try:
                issuer, subject = issuer_and_subject(der)
                yield _Link(x509.load_der_x509_certificate(der), subject, issuer)
            except _REFUSED:
                continue


class _Search:
    """Looks for a chain, depth first."""

    def __init__(self, candidates: Sequence[_Link], authorities: Sequence[Authority]) -> None:
        self._candidates = candidates
        self._authorities = authorities
        self._verifications = 0

    def reaches(self, link: _Link, depth: int, below: int = 0) -> bool:
        """Tell whether an authority is at most ``depth`` steps up; ``below``: CA certificates passed already."""
        if depth <= 0:
            return False
        for authority in self._authorities:
            if authority.certificate.subject_name == link.issuer and self._issued(link, authority.loaded, below):
                return True
        return any(
            self._issued(link, candidate.loaded, below) and self.reaches(candidate, depth - 1, below + 1)
            for candidate in self._candidates
            if candidate.subject == link.issuer and candidate is not link
        )

    def _issued(self, link: _Link, issuer: x509.Certificate, below: int) -> bool:
        if self._verifications >= MAX_VERIFICATIONS or not _may_issue(issuer, below):
            return False
        self._verifications += 1
        try:
            link.loaded.verify_directly_issued_by(issuer)
        except _REFUSED:
            return False
        return True


def _may_issue(certificate: x509.Certificate, below: int) -> bool:
    """Tell whether this is a CA that may stand above ``below`` other CAs (RFC 5280, section 6.1.4, k to n)."""
    try:
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except (*UNREADABLE, x509.ExtensionNotFound):
        return False
    if not constraints.ca or (constraints.path_length is not None and constraints.path_length < below):
        return False
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True
