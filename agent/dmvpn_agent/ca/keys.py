"""The CA's private keys, always encrypted."""

import base64

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import PrivateFormat, load_pem_private_key, pkcs12

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.x509.der import expect
from dmvpn_agent.x509.private_key import PrivateKey

SHORTEST_PASSPHRASE = 8
#: Of PBKDF2, for the CA's keys: 40 ms on a small machine.
_ROUNDS = 200_000
#: 1.2.840.113549.1.12.10.1.2 in DER, and the tag of what follows it in PKCS #12.
_SHROUDED_KEY_BAG = bytes.fromhex("060b2a864886f70d010c0a0102")
_CONTEXT_0 = 0xA0


def encrypted(key: PrivateKey, passphrase: bytes) -> str:
    """Return a key as encrypted PKCS #8 in PEM. Raises ``CaError`` for a passphrase that is too short.

    cryptography writes PKCS #8 with 2048 rounds of PBKDF2, and can be told how many only for PKCS #12, which has PKCS
    #8 in it (RFC 7292, section 4.2.2).
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise CaError(f"the passphrase has {len(passphrase)} characters", f"use at least {SHORTEST_PASSPHRASE}")
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(passphrase)
    )
    bag = pkcs12.serialize_key_and_certificates(None, key, None, None, encryption)
    start, stop = expect(bag, bag.index(_SHROUDED_KEY_BAG) + len(_SHROUDED_KEY_BAG), len(bag), _CONTEXT_0)
    return pem_encoded(bag[start:stop], "ENCRYPTED PRIVATE KEY")


def decrypted(pem: str, passphrase: bytes) -> PrivateKey:
    """Return the key in an encrypted PEM. Raises ``CaError`` if the passphrase is not the right one."""
    try:
        key = load_pem_private_key(pem.encode(), passphrase)
    except (ValueError, TypeError) as error:
        raise CaError("the passphrase is wrong: the CA's key cannot be decrypted with it",
                      "nothing was changed; try again") from error  # fmt: skip
    if not isinstance(key, PrivateKey):
        raise CaError(f"the CA's key is of a kind that cannot sign certificates: {type(key).__name__}")
    return key


def pem_encoded(der: bytes, label: str) -> str:
    """Return DER as PEM (RFC 7468)."""
    text = base64.b64encode(der).decode()
    lines = (text[at : at + 64] for at in range(0, len(text), 64))
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))
