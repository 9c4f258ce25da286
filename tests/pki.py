"""A small PKI for tests: CAs with keys of their own, names encoded in any way, certificates and CRLs in DER."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from dmvpn_agent.x509.authorities import Authority, read_authorities
from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.crl import Crl, read_crls
from factories import NOW, YEAR

UTF8, PRINTABLE = _ASN1Type.UTF8String, _ASN1Type.PrintableString
CA = x509.BasicConstraints(ca=True, path_length=None)


@lru_cache
def key_of(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the key with this name."""
    return ec.generate_private_key(ec.SECP256R1())


def usage(*bits: str) -> x509.KeyUsage:
    """Return a keyUsage with these bits."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{name: name in bits for name in names})


@dataclass(frozen=True)
class Party:
    """A name and a key; ``text`` is the common name, ``key`` names the key, ``kind`` is the encoding of the name."""

    text: str
    key: str = ""
    kind: Any = UTF8
    identified: bool = True
    dates: tuple[datetime, datetime] = field(default=(NOW - YEAR, NOW + YEAR))

    @property
    def name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.text, _type=self.kind)])

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        return key_of(self.key or self.text)

    def certify(
        self,
        other: "Party",
        *extensions: x509.ExtensionType,
        serial: int = 7,
        ca: bool = True,
    ) -> bytes:
        """Return a certificate for another party (DER), by default a CA's."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(other.name)
            .issuer_name(self.name)
            .public_key(other.private_key.public_key())
            .serial_number(serial)
            .not_valid_before(other.dates[0])
            .not_valid_after(other.dates[1])
        )
        for extension in ((CA,) if ca else ()) + extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        if self.identified:
            for identifier in _identifiers(other, self):
                builder = builder.add_extension(identifier, critical=False)
        return builder.sign(self.private_key, SHA256()).public_bytes(Encoding.DER)

    def leaf(self, serial: int = 7, text: str = "spoke1", **options: Any) -> Certificate:
        """Return a peer's certificate as it is read."""
        certificate = read_certificate(self.certify(Party(text, "leaf"), serial=serial, ca=False, **options))
        assert isinstance(certificate, Certificate)
        return certificate

    def authority(self, by: "Party | None" = None, *extensions: x509.ExtensionType, **options: Any) -> Authority:
        """Return its CA certificate, issued by another party or by itself."""
        (authority,) = read_authorities((by or self).certify(self, *extensions, **options))
        return authority

    def revoke(
        self, *serials: int, number: int | None = 1, update: datetime = NOW - timedelta(days=1), days: int = 30
    ) -> Crl:
        """Return a CRL of its own, as it is read."""
        (crl,) = read_crls(self.revoke_der(*serials, number=number, update=update, days=days))
        return crl

    def revoke_der(
        self, *serials: int, number: int | None = 1, update: datetime = NOW - timedelta(days=1), days: int = 30
    ) -> bytes:
        """Return the same as DER."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(update)
            .next_update(update + timedelta(days=days))
        )
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        if self.identified:
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.private_key.public_key()), critical=False
            )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(update).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.private_key, SHA256()).public_bytes(Encoding.DER)


def _identifiers(subject: Party, issuer: Party) -> tuple[x509.ExtensionType, x509.ExtensionType]:
    own, above = subject.private_key.public_key(), issuer.private_key.public_key()
    return (
        x509.SubjectKeyIdentifier.from_public_key(own),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(above),
    )


def server_files(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for ``localhost`` and 127.0.0.1, valid now, and its key, in PEM."""
    now = datetime.now(UTC)
    server = Party("localhost", dates=(now - timedelta(days=1), now + timedelta(days=1)))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = x509.load_der_x509_certificate(server.certify(server, names))
    paths = folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(server.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
