"""Reads certificate revocation lists (RFC 5280, section 5) that cover all certificates of their issuer.

A CRL that covers only a part is refused: a delta CRL, one with an issuing distribution point, an indirect one.

``cryptography`` reads a CRL without its entries. The entries are read here, because there can be 100,000 and more:
cryptography keeps an object for each, and blocks every other thread meanwhile.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.der import (
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    Malformed,
    decode,
    element,
    encoded,
    expect,
    object_identifier,
    parts,
)
from dmvpn_agent.x509.name import UNREADABLE, CanonicalName, canonical_name, display_text, read_name
from dmvpn_agent.x509.pem import PemError, der_blocks
from dmvpn_agent.x509.serial_set import SerialSet
from dmvpn_agent.x509.signature import Signature, read_signature

MAX_CRL_BYTES = 32 * 1024 * 1024
#: RFC 5280, section 5.2.3, allows 20. Python refuses to print numbers of thousands (``sys.int_info``).
MAX_NUMBER_OCTETS = 64

_PARTIAL: dict[type[object], str] = {
    x509.IssuingDistributionPoint: "issuingDistributionPoint: it covers only a part of the certificates",
    x509.DeltaCRLIndicator: "deltaCRLIndicator: it contains only changes",
}

_TIMES = frozenset({0x17, 0x18})
_BOOLEAN, _ENUMERATED = 0x01, 0x0A
_REASON, _ISSUER = "2.5.29.21", "2.5.29.29"
_REMOVED = b"\x08"
#: Entry extensions that do not change what the entry means: reason, hold instruction, invalidity date.
_KNOWN = frozenset({_REASON, "2.5.29.23", "2.5.29.24"})
#: How many different extensions of entries are cached while a CRL is read; most often there are ten.
_MAX_REMEMBERED = 4096


class CrlError(Exception):
    """A file contains no CRL that can be used; the text says why, for an operator."""


@dataclass(frozen=True, slots=True)
class Crl:
    """A CRL whose signature is not verified yet.

    ``name`` is the issuer's, ``issuer`` the same for people. ``number``: the CRL number, which the issuer increases.
    ``this_update`` and ``next_update`` are aware, UTC. ``serials``: the revoked certificates. ``key_id``: the
    identifier of the signing key (authorityKeyIdentifier). ``der`` is the whole CRL.
    """

    name: CanonicalName
    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    serials: SerialSet
    key_id: bytes | None
    signature: Signature = field(repr=False, compare=False)
    der: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the CRL in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()


def read_crls(data: bytes, *, entries: bool = True) -> tuple[Crl, ...]:
    """Read the CRLs of one file, DER or PEM; without ``entries``, ``serials`` is empty. Raises ``CrlError``.

    There may be a million entries: from a stranger, they are read after the signature was verified.
    """
    try:
        return tuple(_crl(der, has_entries=entries) for der in der_blocks(data, "X509 CRL", MAX_CRL_BYTES))
    except PemError as error:
        raise CrlError(str(error)) from error
    except (Malformed, *UNREADABLE) as error:
        raise CrlError(f"it is no CRL: {escaped(str(error))}") from error


def crl_issuer(der: bytes) -> str:
    """Return the issuer of a CRL (DER) for people. Raises ``Malformed``."""
    _, issuer, _, _ = _places(der)
    return display_text(read_name(der[issuer[0] : issuer[1]]))


def _crl(der: bytes, *, has_entries: bool) -> Crl:
    content, issuer, entries, rest = _places(der)
    head = x509.load_der_x509_crl(_without_entries(der, content, entries, rest))
    name = der[issuer[0] : issuer[1]]
    number, key_id = _extensions(head.extensions)
    return Crl(
        name=canonical_name(name),
        issuer=display_text(read_name(name)),
        number=number,
        this_update=head.last_update_utc,
        next_update=head.next_update_utc,
        serials=SerialSet(_revoked(der, *entries) if has_entries else ()),
        key_id=key_id,
        signature=read_signature(head, der),
        der=der,
    )


Place = tuple[int, int]


def _places(der: bytes) -> tuple[Place, Place, Place, Place]:
    """Return start and end of the signed content, and in it of the issuer, of the entries and of what follows them.

    If no certificate is revoked, the place of the entries is empty.
    """
    start, end = expect(der, 0, len(der), SEQUENCE)
    if end != len(der):
        raise CrlError("it is no CRL: data follows it")
    at, content_end = expect(der, start, end, SEQUENCE)
    content = at, content_end
    tag, _, stop = element(der, at, content_end)
    if tag == INTEGER:  # the version
        at = stop
    issuer_at = expect(der, at, content_end, SEQUENCE)[1]  # behind the signature's algorithm
    at = issuer_end = expect(der, issuer_at, content_end, SEQUENCE)[1]
    for _ in range(2):  # thisUpdate, and nextUpdate if it is there
        if at < content_end and der[at] in _TIMES:
            at = element(der, at, content_end)[2]
    list_end = at
    if at < content_end and der[at] == SEQUENCE:
        list_end = expect(der, at, content_end, SEQUENCE)[1]
    return content, (issuer_at, issuer_end), (at, list_end), (list_end, content_end)


def _without_entries(der: bytes, content: Place, entries: Place, rest: Place) -> bytes:
    """Return the CRL without its entries; its signature is no longer valid."""
    signed = encoded(SEQUENCE, der[content[0] : entries[0]], der[rest[0] : rest[1]])
    return encoded(SEQUENCE, signed, der[content[1] :])


def _extensions(extensions: x509.Extensions) -> tuple[int | None, bytes | None]:
    """Return CRL number and key identifier. Raises ``CrlError`` for an extension that changes the CRL's meaning."""
    number = key_id = None
    for extension in extensions:
        value = extension.value
        if type(value) in _PARTIAL:
            raise CrlError(_PARTIAL[type(value)])
        if isinstance(value, x509.UnrecognizedExtension) and extension.critical:
            raise CrlError(f"critical extension {extension.oid.dotted_string} is unknown")
        if isinstance(value, x509.CRLNumber):
            number = value.crl_number
            if number.bit_length() > 8 * MAX_NUMBER_OCTETS:
                raise CrlError(f"its number is longer than {MAX_NUMBER_OCTETS} octets")
        if isinstance(value, x509.AuthorityKeyIdentifier):
            key_id = value.key_identifier
    return number, key_id


def _revoked(der: bytes, at: int, end: int) -> Iterator[bytes]:
    """Yield the serial numbers that the entries revoke, as content octets.

    Raises ``Malformed``, and ``CrlError`` for an entry about another issuer.
    """
    if at == end:
        return
    at = expect(der, at, end, SEQUENCE)[0]
    known: dict[bytes, bool] = {}
    while at < end:
        start, at = expect(der, at, end, SEQUENCE)
        start, stop = expect(der, start, at, INTEGER)
        if start == stop:
            raise Malformed("an INTEGER is empty")
        tag, _, behind = element(der, stop, at)
        if tag not in _TIMES:
            raise Malformed("an entry has no revocation date")
        revokes = True
        if behind < at:
            extensions = der[behind:at]
            if extensions not in known:
                if len(known) >= _MAX_REMEMBERED:
                    known.clear()
                known[extensions] = _revokes(extensions)
            revokes = known[extensions]
        if revokes:
            yield der[start:stop]


def _revokes(extensions: bytes) -> bool:
    """Tell whether an entry with these extensions revokes: only removeFromCRL does not."""
    revokes = True
    for extension in parts(decode(extensions), SEQUENCE):
        inner = parts(extension, SEQUENCE)
        tags = [tag for tag, _, _ in inner]
        if tags not in ([OBJECT_IDENTIFIER, OCTET_STRING], [OBJECT_IDENTIFIER, _BOOLEAN, OCTET_STRING]):
            raise Malformed("an extension of an entry is malformed")
        oid, value = object_identifier(inner[0][1]), inner[-1][1]
        critical = len(inner) == 3 and inner[1][1] != b"\x00"
        if oid == _ISSUER:
            raise CrlError("certificateIssuer: it is an indirect CRL, for other issuers")
        if critical and oid not in _KNOWN:
            raise CrlError(f"critical entry extension {oid} is unknown")
        if oid == _REASON:
            revokes = revokes and decode(value)[:2] != (_ENUMERATED, _REMOVED)
    return revokes
