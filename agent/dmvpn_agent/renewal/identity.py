"""The identity by which charon finds a certificate: its subject, octet for octet."""

from cryptography import x509


def swanctl_identity(certificate: x509.Certificate) -> str:
    """Return the value of ``id`` in swanctl.conf. It is in hexadecimal, so a subject may contain anything."""
    return f'"asn1dn:#{certificate.subject.public_bytes().hex()}"'
