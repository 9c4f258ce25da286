"""A client of SCEP for tests: it builds messages, also ones that no client should send."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AttributeOID, NameOID

from dmvpn_agent.enrolment.scep_message import _FAIL_INFO, _MESSAGE_TYPE, _PKI_STATUS, _SENDER_NONCE, _TRANSACTION_ID
from dmvpn_agent.enrolment.signed_message import read_signed, write_signed
from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.der import OCTET_STRING, encoded


def new_rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key as routers have."""
    return rsa.generate_private_key(65537, bits)


def self_signed(key: rsa.RSAPrivateKey, now: datetime | None = None) -> x509.Certificate:
    """What a client without a certificate signs its message with."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "router")])
    now = now or utc_now()
    return x509.CertificateBuilder(
        name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1)
    ).sign(key, SHA256())  # fmt: skip


def scep_request(key: Any, token: str = "", name: str = "") -> bytes:
    """A request for a certificate with a challenge password."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if token:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, token.encode())
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Reply:
    """What the server answered: status, why it failed, and the certificate."""

    status: str
    failure: str
    certificate: x509.Certificate | None
    body: bytes


@dataclass
class Client:
    """A router with a key; ``certificate``: what it signs with."""

    server: x509.Certificate
    key: rsa.RSAPrivateKey = field(default_factory=new_rsa_key)
    certificate: x509.Certificate | None = None

    def sealed(self, request: bytes) -> bytes:
        """The request, encrypted for the server."""
        builder = pkcs7.PKCS7EnvelopeBuilder().set_data(request).add_recipient(self.server)
        return builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])

    def message(self, content: bytes, kind: str = "19", *, without: str = "") -> bytes:
        """A signed message with this content; ``without``: which of its attributes is left out."""
        attributes = {
            "kind": (_MESSAGE_TYPE, encoded(0x13, kind.encode())),
            "transaction": (_TRANSACTION_ID, encoded(0x13, b"transaction-1")),
            "nonce": (_SENDER_NONCE, encoded(OCTET_STRING, b"n" * 16)),
        }
        attributes.pop(without, None)
        return write_signed(content, dict(attributes.values()), self.key, self.certificate or self_signed(self.key))

    def read(self, body: bytes) -> Reply:
        """Return what an answer says; its signature is the server's."""
        found = read_signed(body)
        assert found.signer == self.server
        status = found.attributes[_PKI_STATUS][2:].decode()
        failure = found.attributes.get(_FAIL_INFO, b"")[2:].decode()
        if status != "0":
            assert found.content == b""
            return Reply(status, failure, None, body)
        own = self.certificate or self_signed(self.key)
        inner = pkcs7.pkcs7_decrypt_der(found.content, own, self.key, [])
        (certificate,) = pkcs7.load_der_pkcs7_certificates(inner)
        return Reply(status, failure, certificate, body)
