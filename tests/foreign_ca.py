"""A CA that is not the operator's, and certificates of it."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from factories import NOW, YEAR

KEY = ec.derive_private_key(4711, ec.SECP256R1())


def authority(name: str, not_after: datetime = NOW + YEAR, issuer: str = "") -> bytes:
    """Return a CA's certificate (DER), by itself if it has no issuer."""
    builder = _builder(_name(name), _name(issuer or name), not_after)
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return builder.add_extension(constraints, critical=True).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def certificate(issuer: str, subject: x509.Name) -> bytes:
    """Return a certificate (DER) of the CA with this name; its key is the CA's own."""
    return _builder(subject, _name(issuer), NOW + YEAR).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, not_after: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - YEAR)
        .not_valid_after(not_after)
    )
