"""Builds certificate revocation lists (RFC 5280, section 5)."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.ca.profile import authority_key_identifier
from dmvpn_agent.x509.private_key import PrivateKey, digest_for


class RevokedCertificate(NamedTuple):
    """One entry; ``reason`` is a name of RFC 5280's CRLReason."""

    serial: int
    revoked_at: datetime
    reason: str


class CrlPeriod(NamedTuple):
    """The number of a CRL, and when it is valid."""

    number: int
    this_update: datetime
    next_update: datetime


def build_crl(
    issuer: x509.Certificate, key: PrivateKey, period: CrlPeriod, revoked: Iterable[RevokedCertificate]
) -> bytes:
    """Return a signed CRL in DER."""
    builder = x509.CertificateRevocationListBuilder(
        issuer.subject, period.this_update, period.next_update, [], [_entry(one) for one in revoked]
    )
    return (
        builder.add_extension(x509.CRLNumber(period.number), critical=False)
        .add_extension(authority_key_identifier(issuer), critical=False)
        .sign(key, digest_for(key))
        .public_bytes(Encoding.DER)
    )


def _entry(one: RevokedCertificate) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(one.revoked_at)
    reason = x509.ReasonFlags(one.reason)
    if reason is not x509.ReasonFlags.unspecified:  # RFC 5280, section 5.3.1: it should not be there then
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    return builder.build()
