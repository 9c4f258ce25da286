"""Reads CA certificates."""

import hashlib
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dmvpn_agent.x509.certificate import BadCertificate, Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.name import CanonicalName, canonical_name
from dmvpn_agent.x509.pem import PemError, der_blocks
from dmvpn_agent.x509.signature import Signature, read_signature

MAX_AUTHORITY_BYTES = 1024 * 1024


Kind = TypeVar("Kind", bound=x509.ExtensionType)


class AuthorityError(Exception):
    """A file contains something other than CA certificates; the text says what, for an operator."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate whose key signs certificates, CRLs or both.

    ``name`` is its own, ``issuer`` its issuer's. ``key``: SHA-256 of its public key. ``key_id`` and
    ``issuer_key_id``: the subject and authority key identifiers. ``path_length``: how many CAs may be below it.
    """

    certificate: Certificate
    name: CanonicalName
    issuer: CanonicalName
    public_key: object = field(repr=False, compare=False)
    key: bytes = field(repr=False)
    key_id: bytes | None
    issuer_key_id: bytes | None
    issues: bool
    signs_crls: bool
    path_length: int | None
    signature: Signature = field(repr=False, compare=False)

    @property
    def self_issued(self) -> bool:
        """Tell whether issuer and subject have the same name (RFC 5280, section 3.2)."""
        return self.name == self.issuer

    @property
    def names_itself(self) -> bool:
        """Tell whether it names itself as its issuer: by name, and by key identifier if there is one."""
        return self.self_issued and self.issuer_key_id in (None, self.key_id)


def read_authorities(data: bytes) -> tuple[Authority, ...]:
    """Read the CA certificates of one file, DER or PEM. Raises ``AuthorityError``."""
    try:
        return tuple(read_authority(der) for der in der_blocks(data, "CERTIFICATE", MAX_AUTHORITY_BYTES))
    except PemError as error:
        raise AuthorityError(str(error)) from error


def read_authority(der: bytes) -> Authority:
    """Read one CA certificate (DER). Raises ``AuthorityError``."""
    certificate = read_certificate(der)
    if isinstance(certificate, BadCertificate):
        raise AuthorityError(f"the certificate cannot be read: {certificate.why}")
    try:
        authority = _read(certificate, x509.load_der_x509_certificate(der))
    except Exception as error:  # certificates from peers are read here too
        why = escaped(str(error) or type(error).__name__)
        raise AuthorityError(f"{escaped(certificate.subject)} cannot be used: {why}") from error
    if not (authority.issues or authority.signs_crls):
        raise AuthorityError(
            f"{escaped(certificate.subject)} is no CA (CA:TRUE, and keyCertSign if it has a keyUsage) and no CRL"
            " signer (cRLSign in its keyUsage)"
        )
    return authority


def _read(certificate: Certificate, loaded: x509.Certificate) -> Authority:
    extensions = loaded.extensions
    constraints = _extension(extensions, x509.BasicConstraints)
    usage = _extension(extensions, x509.KeyUsage)
    own, issuers = _extension(extensions, x509.SubjectKeyIdentifier), issuer_key_id(extensions)
    is_ca = constraints is not None and constraints.ca
    public_key = loaded.public_key()
    encoded = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Authority(
        certificate=certificate,
        name=canonical_name(certificate.subject_name),
        issuer=canonical_name(certificate.issuer_name),
        public_key=public_key,
        key=hashlib.sha256(encoded).digest(),
        key_id=own.digest if own else None,
        issuer_key_id=issuers,
        issues=is_ca and (usage is None or usage.key_cert_sign),
        signs_crls=usage.crl_sign if usage else is_ca,
        path_length=constraints.path_length if constraints else None,
        signature=read_signature(loaded, certificate.der),
    )


def _extension(extensions: x509.Extensions, kind: type[Kind]) -> Kind | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def issuer_key_id(extensions: x509.Extensions) -> bytes | None:
    """Return the key identifier of the issuer that a certificate names, if any."""
    found = _extension(extensions, x509.AuthorityKeyIdentifier)
    return found.key_identifier if found else None
