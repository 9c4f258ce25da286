"""What a node gets: its certificate, its key if the CA made it, and the CAs; as PKCS #12 or PEM."""

import secrets
import string
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12

from dmvpn_agent.x509.private_key import plain_pem

#: Without the letters and digits that look alike.
_LETTERS = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))
_PASSWORD_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A node's certificate with its key, and the CAs above it, nearest first."""

    name: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    def pfx(self, password: str) -> bytes:
        """Return PKCS #12, encrypted by AES-256."""
        encryption = BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(
            self.name.encode(), self.key, self.certificate, self.chain, encryption
        )

    def pem(self) -> bytes:
        """Return the key, without encryption, then the certificates, the node's first."""
        return plain_pem(self.key) + chain_pem((self.certificate, *self.chain))


def chain_pem(certificates: tuple[x509.Certificate, ...]) -> bytes:
    """Return certificates in PEM."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def new_password() -> str:
    """Return a password for a bundle: 20 letters and digits, 116 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_PASSWORD_LENGTH))
