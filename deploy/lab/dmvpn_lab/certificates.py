"""A certificate authority for a lab: EC keys, the subject's OUs as the scenario gives them, and CRLs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_LIFETIME = timedelta(days=30)
_CRL_LIFETIME = timedelta(days=1)
_NETSCAPE_COMMENT = x509.ObjectIdentifier("2.16.840.1.113730.1.13")
_IA5_STRING = b"\x16"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a CA gives a node: a certificate and its key, its own certificate (all PEM), and its first CRL (DER)."""

    certificate: bytes
    key: bytes
    ca_certificate: bytes
    crl: bytes


class Authority:
    """Issues certificates and revokes them.

    charon finds the CRLs for a certificate by the key identifiers that CA and CRL name.
    """

    def __init__(self, name: x509.Name | None = None, first_serial: int | None = None) -> None:
        """``first_serial`` is the CA's own, from which the others count; ``None`` for random ones."""
        self._curve = ec.SECP256R1() if name is None else ec.SECP384R1()
        self._key = ec.generate_private_key(self._curve)
        self._name = name or _name("DMVPN lab CA", ())
        self._serials: dict[str, int] = {}
        self._next_serial = first_serial
        self._crl_number = 0
        self._certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, SHA256())
        )
        self._first_crl = self.revocation_list(())

    def issue(self, common_name: str, units: Sequence[str], comment: int = 0) -> Credentials:
        """A certificate whose subject has ``units`` as its OUs, in this order, with a comment of so many bytes."""
        extensions = ((_comment(comment), False),) if comment else ()
        return self.certificate(_name(common_name, units), common_name, extensions)

    def certificate(
        self,
        subject: x509.Name,
        called: str,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
        key_usage: bool = True,
    ) -> Credentials:
        """A certificate with these extensions, each with whether it is critical; ``called`` is how to revoke it."""
        key = ec.generate_private_key(self._curve)
        builder = (
            self._builder(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(self._key_identifier, critical=False)
        )
        if key_usage:
            builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self._key, SHA256())
        self._serials[called] = certificate.serial_number
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Credentials(
            certificate=certificate.public_bytes(Encoding.PEM),
            key=pem,
            ca_certificate=self.root,
            crl=self._first_crl,
        )

    def revocation_list(self, revoked: Collection[str]) -> bytes:
        """A CRL (DER) of the certificates issued to these common names; each has a higher number than the one before.

        They are on hold, the only kind of revocation that a later CRL may lift (RFC 5280, section 5.3.1).
        """
        self._crl_number += 1
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now)
            .next_update(now + _CRL_LIFETIME)
            .add_extension(x509.CRLNumber(self._crl_number), critical=False)
            .add_extension(self._key_identifier, critical=False)
        )
        for name in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(self._serials[name]).revocation_date(now)
            on_hold = x509.CRLReason(x509.ReasonFlags.certificate_hold)
            builder = builder.add_revoked_certificate(entry.add_extension(on_hold, critical=False).build())
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.DER)

    @property
    def root(self) -> bytes:
        """The CA's own certificate, PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        serial = x509.random_serial_number() if self._next_serial is None else self._next_serial
        if self._next_serial is not None:
            self._next_serial += 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _LIFETIME)
        )
        if serial == 0:
            builder._serial_number = 0  # the library refuses it, dmvpn-ca has it
            return builder
        return builder.serial_number(serial)

    @property
    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def _name(common_name: str, units: Sequence[str]) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, "DMVPN lab")]
    parts += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    parts.append((NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _comment(length: int) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(
        _NETSCAPE_COMMENT, _IA5_STRING + b"\x82" + length.to_bytes(2, "big") + b"-" * length
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
