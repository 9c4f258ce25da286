"""The outer layer of SCEP's messages: CMS SignedData with one signer and signed attributes (RFC 5652, section 5).

``cryptography`` reads and writes the layers inside, but no attributes of a signature. This module does what SCEP
needs of them (RFC 8894, section 3.2): RSA, SHA-2, and DER. Nothing else is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.x509.der import (
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Malformed,
    element,
    encoded,
    expect,
    integer,
)

Digest = SHA256 | SHA384 | SHA512

#: OBJECT IDENTIFIERs, as they are encoded.
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
DATA = bytes.fromhex("06092a864886f70d010701")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_RSA = bytes.fromhex("06092a864886f70d010101")
_DIGESTS: Mapping[bytes, Digest] = {
    bytes.fromhex("0609608648016503040201"): SHA256(),
    bytes.fromhex("0609608648016503040202"): SHA384(),
    bytes.fromhex("0609608648016503040203"): SHA512(),
}
#: With the digest's name in it; or ``_RSA``, without.
_RSA_WITH: Mapping[bytes, Digest] = {
    bytes.fromhex("06092a864886f70d01010b"): SHA256(),
    bytes.fromhex("06092a864886f70d01010c"): SHA384(),
    bytes.fromhex("06092a864886f70d01010d"): SHA512(),
}
_NULL = b"\x05\x00"
_CONTEXT_0, _CONTEXT_1 = 0xA0, 0xA1
#: More certificates than any client sends.
_MOST_CERTIFICATES = 8


class WeakAlgorithm(Exception):
    """A digest or signature other than RSA with SHA-2."""


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message whose signature is that of the certificate in it.

    ``attributes``: by encoded OBJECT IDENTIFIER, the one value, encoded.
    """

    content: bytes
    attributes: Mapping[bytes, bytes]
    signer: x509.Certificate


def read_signed(data: bytes) -> SignedMessage:
    """Return a message. Raises ``Malformed``, also if its signature is wrong, and ``WeakAlgorithm``."""
    content_type, explicit = _exactly(_parts(data, (SEQUENCE, 0, len(data)), whole=True), 2)
    if _whole(data, content_type) != SIGNED_DATA:
        raise Malformed("it is no SignedData")
    start, stop = expect(data, explicit[1], explicit[2], SEQUENCE)
    _, _, encapsulated, *optional, infos = _parts(data, (SEQUENCE, start, stop), least=4)
    certificates = [one for one in optional if one[0] == _CONTEXT_0]
    (info,) = _exactly(_parts(data, infos), 1)
    content = _content(data, encapsulated)
    signer, attributes = _verified(data, info, content, certificates)
    return SignedMessage(content, attributes, signer)


def write_signed(
    content: bytes | None, attributes: Mapping[bytes, bytes], key: rsa.RSAPrivateKey, certificate: x509.Certificate
) -> bytes:
    """Return a message, signed with SHA-256; ``attributes`` as of ``SignedMessage``, without those of every one."""
    own = {
        **attributes,
        _CONTENT_TYPE: DATA,
        _MESSAGE_DIGEST: encoded(OCTET_STRING, _digest(SHA256(), content or b"")),
    }
    listed = b"".join(sorted(encoded(SEQUENCE, oid, encoded(SET, value)) for oid, value in own.items()))
    sha256 = encoded(SEQUENCE, next(iter(_DIGESTS)), _NULL)
    issuer = encoded(SEQUENCE, certificate.issuer.public_bytes(), _integer(certificate.serial_number))
    signature = key.sign(encoded(SET, listed), padding.PKCS1v15(), SHA256())
    info = encoded(
        SEQUENCE, _integer(1), issuer, sha256, encoded(_CONTEXT_0, listed), encoded(SEQUENCE, _RSA, _NULL),
        encoded(OCTET_STRING, signature),
    )  # fmt: skip
    inner = encoded(_CONTEXT_0, encoded(OCTET_STRING, content)) if content is not None else b""
    der = certificate.public_bytes(Encoding.DER)
    signed = encoded(
        SEQUENCE, _integer(1), encoded(SET, sha256), encoded(SEQUENCE, DATA, inner), encoded(_CONTEXT_0, der),
        encoded(SET, info),
    )  # fmt: skip
    return encoded(SEQUENCE, SIGNED_DATA, encoded(_CONTEXT_0, signed))


#: Tag, where the content starts, and where it stops; the element itself begins before ``start``.
_Part = tuple[int, int, int]


def _verified(
    data: bytes, info: _Part, content: bytes, certificates: list[_Part]
) -> tuple[x509.Certificate, Mapping[bytes, bytes]]:
    """Return the signer and the attributes. Raises ``Malformed`` and ``WeakAlgorithm``."""
    parts = _parts(data, info, least=6)
    sid, digest_algorithm, listed, signature_algorithm, signature = parts[1:6]
    if (sid[0], listed[0], signature[0]) != (SEQUENCE, _CONTEXT_0, OCTET_STRING):
        raise Malformed("the signer's information has unexpected parts")
    digest = _DIGESTS.get(_algorithm(data, digest_algorithm))
    named = _algorithm(data, signature_algorithm)
    if digest is None or (named != _RSA and not isinstance(_RSA_WITH.get(named), type(digest))):
        raise WeakAlgorithm("the message is not signed by RSA with SHA-256, SHA-384 or SHA-512")
    signer = _signer(data, sid, certificates)
    attributes = dict(_attribute(data, one) for one in _parts(data, listed))
    if attributes.get(_MESSAGE_DIGEST) != encoded(OCTET_STRING, _digest(digest, content)):
        raise Malformed("the digest of the content is another one")
    key = signer.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise WeakAlgorithm("the signer's key is not RSA")
    signed = encoded(SET, data[listed[1] : listed[2]])
    try:
        key.verify(data[signature[1] : signature[2]], signed, padding.PKCS1v15(), digest)
    except InvalidSignature:
        raise Malformed("the signature is wrong") from None
    return signer, attributes


def _signer(data: bytes, sid: _Part, certificates: list[_Part]) -> x509.Certificate:
    name, serial = _exactly(_parts(data, sid), 2)
    found = [one for several in certificates for one in _parts(data, several)]
    for part in found[:_MOST_CERTIFICATES]:
        try:
            certificate = x509.load_der_x509_certificate(_whole(data, part))
            issuer, number = certificate.issuer.public_bytes(), certificate.serial_number
            certificate.public_key()
        except Exception as error:
            raise Malformed("a certificate in it cannot be read") from error
        if issuer == _whole(data, name) and serial[0] == INTEGER and _number(data, serial) == number:
            return certificate
    raise Malformed("the signer's certificate is not in it")


def _attribute(data: bytes, part: _Part) -> tuple[bytes, bytes]:
    oid, values = _exactly(_parts(data, part), 2)
    (value,) = _exactly(_parts(data, values), 1)
    if oid[0] != OBJECT_IDENTIFIER or values[0] != SET:
        raise Malformed("an attribute has unexpected parts")
    return _whole(data, oid), _whole(data, value)


def _content(data: bytes, part: _Part) -> bytes:
    kind, *inner = _parts(data, part, least=1)
    if _whole(data, kind) != DATA:
        raise Malformed("its content is no data")
    if not inner:
        return b""  # an answer without a certificate has none
    (explicit,) = _exactly(inner, 1)
    if explicit[0] != _CONTEXT_0:
        raise Malformed("its content is no data")
    start, stop = expect(data, explicit[1], explicit[2], OCTET_STRING)
    return data[start:stop]


def _algorithm(data: bytes, part: _Part) -> bytes:
    found = _parts(data, part, least=1)
    return _whole(data, found[0])


def _parts(data: bytes, within: _Part, *, least: int = 0, whole: bool = False) -> list[_Part]:
    """Return the elements in one; ``whole``: the one is all of the data."""
    _, at, end = within
    if whole:
        at, stop = expect(data, 0, end, SEQUENCE)
        if stop != end:
            raise Malformed("something follows the message")
    found = []
    while at < end:
        tag, start, stop = element(data, at, end)
        found.append((tag, start, stop))
        at = stop
    if len(found) < least:
        raise Malformed("an element lacks parts")
    return found


def _exactly(parts: list[_Part], number: int) -> list[_Part]:
    if len(parts) != number:
        raise Malformed(f"an element has {len(parts)} parts, and not {number}")
    return parts


def _whole(data: bytes, part: _Part) -> bytes:
    """Return an element with its tag and length: lengths are in their shortest form here."""
    return encoded(part[0], data[part[1] : part[2]])


def _number(data: bytes, part: _Part) -> int:
    return integer(data[part[1] : part[2]])


def _integer(value: int) -> bytes:
    return encoded(INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _digest(kind: Digest, content: bytes) -> bytes:
    digest = Hash(kind)
    digest.update(content)
    return digest.finalize()
