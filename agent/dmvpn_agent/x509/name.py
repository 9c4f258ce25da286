"""Distinguished names: read from DER (RFC 5280, section 4.1.2.4), compared (section 7.1), and displayed.

Attributes keep their octets, because charon prints and compares those. Other forms of a name: ``rfc4514`` for the
operator's patterns, ``ike_identity`` as charon prints it, ``peer_label`` as one safe word.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple, NewType

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from dmvpn_agent.x509 import der
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.der import Element, Malformed, decode, expect, object_identifier, parts

UTF8_STRING, PRINTABLE_STRING, IA5_STRING = 0x0C, 0x13, 0x16
#: Encoding of each string type. T61String is read as Latin-1, as OpenSSL always did.
_ENCODINGS = {
    UTF8_STRING: "utf-8",
    0x12: "ascii",
    PRINTABLE_STRING: "ascii",
    0x14: "latin-1",
    IA5_STRING: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}

#: strongSwan's short names of attribute types (``src/libstrongswan/asn1/oid.txt``).
SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "T",
    "2.5.4.13": "D",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "N",
    "2.5.4.42": "G",
    "2.5.4.43": "I",
    "2.5.4.45": "ID",
    "2.5.4.46": "dnQualifier",
    "2.5.4.54": "dmdName",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "E",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
}

_LONGEST = 1000
_VERSION = b"\xa0"


#: What cryptography raises for bytes that are no certificate or CRL, or one that it does not support. ``KeyError``:
#: up to version 46, for a name within an extension with an attribute whose tag is not a string's.
UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class Attribute(NamedTuple):
    """One attribute of a name: its type, its value's octets, their text if they are a string, and their tag."""

    oid: str
    value: bytes
    text: str | None
    tag: int = UTF8_STRING


Name = tuple[Attribute, ...]

#: A name in the form in which names are compared (``canonical_name``): equal octets mean equal names.
CanonicalName = NewType("CanonicalName", bytes)


def issuer_and_subject(certificate: bytes) -> tuple[bytes, bytes]:
    """Return issuer and subject of a certificate, each as DER. Raises ``Malformed``."""
    start, end = expect(certificate, 0, len(certificate), der.SEQUENCE)
    at, end = expect(certificate, start, end, der.SEQUENCE)
    if certificate[at : at + 1] == _VERSION:
        at = expect(certificate, at, end, _VERSION[0])[1]
    at = expect(certificate, at, end, der.INTEGER)[1]  # serial number
    issuer_at = expect(certificate, at, end, der.SEQUENCE)[1]  # after the signature's algorithm
    validity_at = expect(certificate, issuer_at, end, der.SEQUENCE)[1]
    subject_at = expect(certificate, validity_at, end, der.SEQUENCE)[1]
    subject_end = expect(certificate, subject_at, end, der.SEQUENCE)[1]
    return certificate[issuer_at:validity_at], certificate[subject_at:subject_end]


def read_name(data: bytes) -> Name:
    """Read the attributes of a Name in one row, those of multi-valued RDNs too. Raises ``Malformed``."""
    return tuple([attribute for rdn in read_rdns(data) for attribute in rdn])


def read_rdns(data: bytes) -> tuple[Name, ...]:
    """Read a Name as its RDNs, each with its attributes. Raises ``Malformed``."""
    rdns = parts(decode(data), der.SEQUENCE)
    return tuple([tuple([_attribute(item) for item in parts(rdn, der.SET)]) for rdn in rdns])


@lru_cache(maxsize=4096)
def canonical_name(data: bytes) -> CanonicalName:
    """Return a Name (DER) in the form for comparison by RFC 5280, section 7.1. Raises ``Malformed``."""
    return canonical_rdns(read_rdns(data))


def canonical_rdns(rdns: tuple[Name, ...]) -> CanonicalName:
    """Return RDNs in the form for comparison (RFC 5280, section 7.1; RFC 4518).

    The type of a string, case, the amount of white space and the order of attributes within an RDN do not count. A
    value that is no string, or has characters that RFC 4518 prohibits, is compared by its octets.
    """
    compared = [sorted((attribute.oid, *_compared(attribute)) for attribute in rdn) for rdn in rdns]
    return CanonicalName(repr(compared).encode())


def _compared(attribute: Attribute) -> tuple[str, str]:
    prepared = None if attribute.text is None else _prepared(attribute.text)
    return (f"{attribute.tag:02x}", attribute.value.hex()) if prepared is None else ("text", prepared)


def _prepared(text: str) -> str | None:
    """Prepare a string for comparison (RFC 4518, section 2); ``None`` if it has prohibited characters."""
    folded = _folded(text)
    if not folded.isascii() and any(unicodedata.category(char) in _PROHIBITED or char == "\ufffd" for char in folded):
        return None
    return folded


@lru_cache(maxsize=4096)
def folded_text(text: str) -> str:
    """Return the text of a name, or of a pattern for names, without what does not count in a comparison.

    The texts of different names may be equal too: a comma in a value looks like one between attributes. So this is
    for patterns that take something away.
    """
    return _AROUND.sub(r"\1", _folded(_HEXADECIMAL.sub(_octets_text, text)))


@lru_cache(maxsize=4096)
def folded_name(data: bytes) -> str:
    """Return a Name (DER) as ``folded_text``, in charon's order and uncut. Raises ``Malformed``."""
    return folded_text(_joined(read_name(data)))


def _octets_text(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("\\", "")).decode(errors="replace")


def _folded(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFKC", "".join(map(_mapped, text)))
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.casefold().split())


def _mapped(char: str) -> str:
    """Return the mapping of a character (RFC 4518, section 2.2): nothing, a space, or itself."""
    category = unicodedata.category(char)
    if char in _SPACES or category in {"Zs", "Zl", "Zp"}:
        return " "
    return "" if category in {"Cc", "Cf"} or char in _DROPPED else char


#: Octets as RFC 4514 writes them, and the separators of attributes and values.
_HEXADECIMAL = re.compile(r"(?:\\[0-9A-Fa-f]{2})+")
_AROUND = re.compile(r" *([,+=]) *")
_SPACES = frozenset("\t\n\v\f\r\x85")
_DROPPED = frozenset("\u034f\u180b\u180c\u180d\ufffc" + "".join(map(chr, range(0xFE00, 0xFE10))))
#: Unassigned, private and surrogate code points (RFC 4518, section 2.4).
_PROHIBITED = frozenset({"Cn", "Co", "Cs"})


def _attribute(item: Element) -> Attribute:
    inner = parts(item, der.SEQUENCE)
    if len(inner) != 2 or inner[0][0] != der.OBJECT_IDENTIFIER:
        raise Malformed("an attribute of a name is not a type and a value")
    tag, value, _ = inner[1]
    encoding = _ENCODINGS.get(tag)
    try:
        text = None if encoding is None else value.decode(encoding)
    except UnicodeDecodeError:
        raise Malformed(f"an attribute of a name is not {encoding}") from None
    return Attribute(object_identifier(inner[0][1]), value, text, tag)


def display_text(name: Name) -> str:
    """Return a name for people, in the order of the certificate, as in charon's log and in swanctl.

    A comma within a value is written ``\\2C``, so no value can look like several attributes. A value that is no
    string is written as its octets in hexadecimal.
    """
    return escaped(_joined(name), _LONGEST)


def _joined(name: Name) -> str:
    return ", ".join(f"{SHORT_NAMES.get(oid, oid)}={_shown(value, text)}" for oid, value, text, _ in name)


def _shown(value: bytes, text: str | None) -> str:
    if text is None:
        return "#" + value.hex()
    return text.replace("\\", "\\5C").replace(",", "\\2C") if "," in text or "\\" in text else text
