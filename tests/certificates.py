"""Certificates made byte by byte, in any form, right or wrong, and without a signature.

Reading a certificate does not verify the signature. If a test needs one, ``signed`` makes it.
"""

from collections.abc import Iterable
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate

UTF8, PRINTABLE, T61, IA5, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1E
ORGANIZATION, UNIT, COMMON_NAME = "2.5.4.10", "2.5.4.11", "2.5.4.3"
SUBJECT_ALT_NAME = "2.5.29.17"
BLOCKS, BLOCKS_V2 = "1.3.6.1.5.5.7.1.7", "1.3.6.1.5.5.7.1.28"
NUMBERS, NUMBERS_V2 = "1.3.6.1.5.5.7.1.8", "1.3.6.1.5.5.7.1.29"
IS_HUB, HUB_HOSTS = "1.3.6.1.4.1.31536.1.1", "1.3.6.1.4.1.31536.1.2"

NULL = b"\x05\x00"
TRUE = b"\x01\x01\xff"


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return an element."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    octets = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def bits(spare: int, text: str) -> bytes:
    """Return a BIT STRING of these octets (hexadecimal), of which the last has ``spare`` spare bits."""
    return tlv(3, bytes([spare]) + bytes.fromhex(text))


def integer(number: int) -> bytes:
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, signed=True))


def oid(text: str) -> bytes:
    first, second, *arcs = map(int, text.split("."))
    octets = bytearray()
    for arc in (40 * first + second, *arcs):
        septets = [arc >> shift & 0x7F for shift in range(0, max(arc.bit_length(), 1), 7)][::-1]
        octets += bytes(septet | 0x80 for septet in septets[:-1]) + bytes(septets[-1:])
    return tlv(6, bytes(octets))


_ALGORITHM = sequence(oid("1.2.840.10045.4.3.2"))


def blocks(*choice: bytes, family: str = "0001") -> bytes:
    """Return IPAddrBlocks of one family with these prefixes and ranges."""
    return sequence(sequence(tlv(4, bytes.fromhex(family)), sequence(*choice)))


def numbers(*items: bytes) -> bytes:
    """Return ASIdentifiers with these AS numbers and ranges."""
    return sequence(tlv(0xA0, sequence(*items)))


def alternatives(*names: tuple[int, bytes]) -> bytes:
    """Return a subjectAltName: 1 a mail address, 2 a DNS name, 7 an IP address."""
    return sequence(*(tlv(0x80 | kind, value) for kind, value in names))


def attribute(kind: str, value: str | bytes, tag: int = UTF8) -> bytes:
    return sequence(oid(kind), tlv(tag, value.encode() if isinstance(value, str) else value))


def name(*attributes: bytes) -> bytes:
    """Return a Name with an RDN for each attribute."""
    return sequence(*(tlv(0x31, item) for item in attributes))


def units(*texts: str) -> bytes:
    """Return a Name of these OUs."""
    return name(*(attribute(UNIT, text) for text in texts))


def extension(kind: str, value: bytes, critical: bool = False) -> bytes:
    return sequence(oid(kind), TRUE if critical else b"", tlv(4, value))


@lru_cache
def key() -> ec.EllipticCurvePrivateKey:
    """Return the key of all of them, always the same one, so the certificates are the same too."""
    return ec.derive_private_key(7, ec.SECP256R1())


@lru_cache
def _public_key() -> bytes:
    return key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signed(certificate: bytes) -> bytes:
    """Return a certificate of ``der`` with a signature by its own key."""
    unsigned = certificate.removesuffix(_ALGORITHM + bits(0, "00"))
    header = 2 if unsigned[1] < 0x80 else 2 + (unsigned[1] & 0x7F)
    inside = unsigned[header:]
    return sequence(inside, _ALGORITHM, tlv(3, b"\0" + key().sign(inside, ec.ECDSA(hashes.SHA256()))))


def der(
    subject: bytes = name(attribute(COMMON_NAME, "spoke1")),
    extensions: Iterable[bytes] = (),
    issuer: bytes = name(attribute(COMMON_NAME, "test CA")),
    serial: bytes = integer(7),
) -> bytes:
    """Return a certificate, valid 2025 to 2027, from these parts."""
    inside = sequence(
        tlv(0xA0, integer(2)),
        serial,
        _ALGORITHM,
        issuer,
        sequence(tlv(0x17, b"250301120000Z"), tlv(0x17, b"270301120000Z")),
        subject,
        _public_key(),
        *([tlv(0xA3, sequence(*parts))] if (parts := tuple(extensions)) else ()),
    )
    return sequence(inside, _ALGORITHM, bits(0, "00"))


def read(subject: bytes = name(attribute(COMMON_NAME, "spoke1")), extensions: Iterable[bytes] = ()) -> Certificate:
    """Return the certificate with this subject and these extensions as the policy sees it."""
    certificate = read_certificate(der(subject, extensions))
    assert isinstance(certificate, Certificate), certificate
    return certificate
