"""Private keys that sign certificates and requests for them."""

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key of the curve P-384."""
    return ec.generate_private_key(ec.SECP384R1())


def plain_pem(key: PrivateKey) -> bytes:
    """Return a key as PKCS #8 in PEM, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def digest_for(key: PrivateKey) -> SHA256 | SHA384 | None:
    """Return the digest that a key signs: as strong as P-384, and none of its own for EdDSA."""
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return None
    return SHA384() if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size >= 384 else SHA256()
