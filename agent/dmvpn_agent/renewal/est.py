"""The codec of EST (RFC 7030, RFC 8951): requests for certificates, and the certificates of an answer."""

import base64
import binascii
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    pkcs7,
)

from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.name import UNREADABLE
from dmvpn_agent.x509.private_key import PrivateKey, digest_for

WELL_KNOWN = "/.well-known/est"
#: Octets of an answer: some certificates.
MAX_ANSWER = 256 * 1024
#: More certificates than a chain has.
MAX_CERTIFICATES = 16


class EstError(Exception):
    """An answer of the server, or a key, cannot be used; the text says why, for an operator."""


def operation_url(server: Url, operation: str) -> Url:
    """Return the address of an operation. A path of the server's address is a label (RFC 7030, section 3.2.2)."""
    label = server.target.rstrip("/")
    return Url.parse(f"{server.scheme}://{server.authority}{WELL_KNOWN}{label}/{operation}")


def read_key(pem: bytes) -> PrivateKey:
    """Read a key that is not encrypted. Raises ``EstError``."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, *UNREADABLE) as error:
        raise EstError(f"it is no private key in PEM, or encrypted: {escaped(str(error), 100)}") from error
    if not isinstance(key, PrivateKey):
        raise EstError(f"{type(key).__name__} is no key that signs certificate requests")
    return key


def public_octets(key: PublicKeyTypes) -> bytes:
    """Return a public key as DER (SubjectPublicKeyInfo)."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def request_for(key: PrivateKey, subject: x509.Name, present: x509.Certificate | None = None) -> bytes:
    """Return a request for a certificate (PKCS #10, DER).

    To renew, it has the names of the ``present`` one (RFC 7030, section 4.2.2).
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if present is not None:
        try:
            names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            builder = builder.add_extension(names.value, critical=names.critical)
        except x509.ExtensionNotFound:
            pass
    return builder.sign(key, digest_for(key)).public_bytes(Encoding.DER)


def encode(request: bytes) -> bytes:
    """Return a request as EST sends it: base64 with line ends."""
    return base64.encodebytes(request)


def decode_certificates(body: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates of an answer: PKCS #7, certs-only, in base64. Raises ``EstError``."""
    if len(body) > MAX_ANSWER:
        raise EstError(f"the answer is longer than {MAX_ANSWER} octets")
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
        found = tuple(pkcs7.load_der_pkcs7_certificates(der))
    except (binascii.Error, *UNREADABLE) as error:
        raise EstError(f"the answer is no certificate: {escaped(str(error), 100)}") from error
    if not 0 < len(found) <= MAX_CERTIFICATES:
        raise EstError(f"the answer has {len(found)} certificates; expected one, and perhaps those of its CAs")
    return found


def of_key(certificates: Iterable[x509.Certificate], key: PrivateKey) -> x509.Certificate:
    """Return the certificate of a key. Raises ``EstError`` if there is none."""
    wanted = public_octets(key.public_key())
    for one in certificates:
        try:
            if public_octets(one.public_key()) == wanted:
                return one
        except UNREADABLE:
            continue
    raise EstError("the answer has no certificate of the key that was sent")
