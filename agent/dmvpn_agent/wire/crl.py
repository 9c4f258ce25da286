"""Certificate revocation lists (RFC 5280, section 5): whole ones, of all certificates of their issuer.

A list that covers only a part (a delta, one with an issuing distribution point, one that also speaks for other
issuers) is refused rather than taken for the whole.
"""

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from dmvpn_agent.wire.claims import shown
from dmvpn_agent.wire.der import INTEGER, SEQUENCE, Malformed, element, expect
from dmvpn_agent.wire.name import UNREADABLE, displayed, read_name
from dmvpn_agent.wire.pem import PemError, der_blocks

MAX_CRL_BYTES = 32 * 1024 * 1024

_PARTIAL: dict[type[object], str] = {
    x509.IssuingDistributionPoint: "issuingDistributionPoint: it covers a part of the certificates only",
    x509.DeltaCRLIndicator: "deltaCRLIndicator: it only says what has changed",
}


class CrlError(Exception):
    """A file holds no revocation list that could be used; the text says why, for an operator."""


@dataclass(frozen=True, slots=True)
class Crl:
    """One revocation list, whose signature is not verified yet (``trust.signed_by``).

    ``issuer_name`` is the issuer's name in DER, ``issuer`` the same for people. ``number`` counts the issuer's lists
    upwards. ``this_update`` and ``next_update`` are aware, UTC. ``serials``: the certificates revoked.
    """

    issuer_name: bytes
    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    serials: frozenset[int]
    signed: x509.CertificateRevocationList = field(repr=False, compare=False)


def read_crls(data: bytes) -> tuple[Crl, ...]:
    """Read the lists of one file, DER or PEM. Raises ``CrlError``."""
    try:
        return tuple(_crl(der) for der in der_blocks(data, "X509 CRL", MAX_CRL_BYTES))
    except (PemError, Malformed) as error:
        raise CrlError(str(error)) from error
    except UNREADABLE as error:
        raise CrlError(f"it is no CRL: {shown(str(error))}") from error


def _crl(der: bytes) -> Crl:
    crl = x509.load_der_x509_crl(der)
    issuer_name = _issuer(der)
    return Crl(
        issuer_name=issuer_name,
        issuer=displayed(read_name(issuer_name)),
        number=_number(crl.extensions),
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        serials=frozenset(entry.serial_number for entry in crl if _is_revoked(entry)),
        signed=crl,
    )


def _issuer(der: bytes) -> bytes:
    start, stop = expect(der, 0, len(der), SEQUENCE)
    at, end = expect(der, start, stop, SEQUENCE)
    tag, _, stop = element(der, at, end)
    if tag == INTEGER:  # the version
        at = stop
    issuer_at = expect(der, at, end, SEQUENCE)[1]  # behind the signature's algorithm
    return der[issuer_at : expect(der, issuer_at, end, SEQUENCE)[1]]


def _number(extensions: x509.Extensions) -> int | None:
    """Return the list's number. Raises ``CrlError`` for an extension that makes the list mean something else."""
    number = None
    for extension in extensions:
        value = extension.value
        if type(value) in _PARTIAL:
            raise CrlError(_PARTIAL[type(value)])
        if isinstance(value, x509.UnrecognizedExtension) and extension.critical:
            raise CrlError(f"critical extension {extension.oid.dotted_string} is not known")
        if isinstance(value, x509.CRLNumber):
            number = value.crl_number
    return number


def _is_revoked(entry: x509.RevokedCertificate) -> bool:
    """Tell whether an entry revokes. Raises ``CrlError`` for one that is not about the list's issuer."""
    revoked = True
    for extension in entry.extensions:
        value = extension.value
        if isinstance(value, x509.CertificateIssuer):
            raise CrlError("certificateIssuer: it speaks for other issuers")
        if isinstance(value, x509.UnrecognizedExtension) and extension.critical:
            raise CrlError(f"critical entry extension {extension.oid.dotted_string} is not known")
        if isinstance(value, x509.CRLReason) and value.reason is x509.ReasonFlags.remove_from_crl:
            revoked = False
    return revoked
