"""Signatures of certificates and CRLs, verified with a key alone.

``CaIndex`` compares the names: ``cryptography`` compares their octets, and RFC 5280, section 7.1, does not. SHA-1 and
MD5 are refused (RFC 9155, NIST SP 800-131A), because collisions can be made.
"""

import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import HashAlgorithm

from dmvpn_agent.x509.claims import escaped
from dmvpn_agent.x509.der import BIT_STRING, INTEGER, SEQUENCE, Malformed, element, expect
from dmvpn_agent.x509.name import UNREADABLE

#: The accepted hashes; for others, ``Signature.refused`` names the algorithm.
_HASHES = frozenset({"sha224", "sha256", "sha384", "sha512", "sha3-224", "sha3-256", "sha3-384", "sha3-512"})
_NAMES = {
    "1.2.840.113549.1.1.2": "md2WithRSAEncryption",
    "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.10040.4.3": "dsa-with-sha1",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.3.14.3.2.29": "sha1WithRSA",
}
_WITHOUT_HASH = {"1.3.101.112": ed25519.Ed25519PublicKey, "1.3.101.113": ed448.Ed448PublicKey}
_VERSION = 0xA0

Signed = x509.Certificate | x509.CertificateRevocationList


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature and its content. ``refused``: why the signature does not count with any key; else empty."""

    oid: str
    hash: HashAlgorithm | None
    padding: object
    value: bytes
    content: bytes = field(repr=False)
    refused: str = ""

    def is_by(self, key: object) -> bool:
        """Tell whether this key made the signature. Never raises."""
        if self.refused:
            return False
        try:
            return self._verify(key)
        except (InvalidSignature, *UNREADABLE):
            return False

    def _verify(self, key: object) -> bool:
        if self.hash is None:
            if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey) and isinstance(
                key, _WITHOUT_HASH[self.oid]
            ):
                key.verify(self.value, self.content)
                return True
            return False
        # hashlib lets other threads run; the content may be megabytes.
        digest = hashlib.new(self.hash.name.replace("sha3-", "sha3_"), self.content).digest()
        hashed = Prehashed(self.hash)
        if isinstance(key, rsa.RSAPublicKey) and isinstance(self.padding, padding.PKCS1v15 | padding.PSS):
            key.verify(self.value, digest, self.padding, hashed)
            return True
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(self.padding, ec.ECDSA):
            key.verify(self.value, digest, ec.ECDSA(hashed))
            return True
        return False


def read_signature(parsed: Signed, der: bytes) -> Signature:
    """Return the signature of a certificate or CRL (DER); ``parsed`` names the algorithm. Raises ``Malformed``."""
    content, value = _parts(der)
    oid = parsed.signature_algorithm_oid.dotted_string
    try:
        algorithm = parsed.signature_hash_algorithm
        parameters = parsed.signature_algorithm_parameters
    except (UnsupportedAlgorithm, ValueError) as error:
        named = _NAMES.get(oid, oid)
        return Signature(oid, None, None, value, content, f"signed with {named}: {escaped(str(error))}")
    refused = ""
    if algorithm is None and oid not in _WITHOUT_HASH:
        refused = f"signed with {_NAMES.get(oid, oid)}, which is not supported"
    elif algorithm is not None and algorithm.name not in _HASHES:
        named = {"sha1": "SHA-1", "md5": "MD5"}.get(algorithm.name, algorithm.name)
        refused = f"signed with {named} ({_NAMES.get(oid, oid)}), which is refused: such signatures can be forged"
    return Signature(oid, algorithm, parameters, value, content, refused)


def _parts(der: bytes) -> tuple[bytes, bytes]:
    """Return signed content and signature; both algorithm fields must be the same (RFC 5280, section 4.1.1.2)."""
    start, end = expect(der, 0, len(der), SEQUENCE)
    inside, content_end = expect(der, start, end, SEQUENCE)
    algorithm_end = expect(der, content_end, end, SEQUENCE)[1]
    at, stop = expect(der, algorithm_end, end, BIT_STRING)
    if der[at : at + 1] != b"\x00":
        raise Malformed("the signature is not in whole octets")
    tag, _, after = element(der, inside, content_end)
    while tag in (_VERSION, INTEGER):  # the version, and a certificate's serial number
        inside = after
        tag, _, after = element(der, inside, content_end)
    if der[inside:after] != der[content_end:algorithm_end]:
        raise Malformed("the two fields with the signature algorithm differ")
    return der[start:content_end], der[at + 1 : stop]
