"""A CA as the Alpine guide has it made by hand: resources are OUs of the subject, right or wrong."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from dmvpn_lab.issued import Credentials
from pki import usage

_LIFETIME = timedelta(days=30)


class Authority:
    """Issues certificates of which ``dmvpn-agent ca`` would refuse some."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("DMVPN lab CA", ())
        self.root = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(self._key, SHA256())
            .public_bytes(Encoding.PEM)
        )

    def issue(self, common_name: str, units: Sequence[str]) -> Credentials:
        """A certificate whose subject has ``units`` as its OUs, in this order."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(self._name, _name(common_name, units), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(usage("digital_signature"), critical=True)
            .sign(self._key, SHA256())
        )
        return Credentials(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            self.root,
        )


def _builder(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now, serial = datetime.now(UTC), x509.random_serial_number()
    begin, end = now - timedelta(hours=1), now + _LIFETIME
    builder = x509.CertificateBuilder(issuer, subject, key, serial, begin, end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _name(common_name: str, units: Sequence[str]) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, "DMVPN lab")]
    parts += [(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    parts.append((NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
