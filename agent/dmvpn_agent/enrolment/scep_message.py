"""SCEP's messages (RFC 8894, section 3): what a client asks for, and what it is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from dmvpn_agent.enrolment.signed_message import SignedMessage, write_signed
from dmvpn_agent.x509.der import OCTET_STRING, Malformed, encoded, expect

_PRINTABLE_STRING = 0x13
_LONGEST_ID = 256


def _oid(last: int) -> bytes:
    """Return an attribute of VeriSign's arc, 2.16.840.1.113733.1.9."""
    return bytes.fromhex("060a6086480186f845010900")[:-1] + bytes([last])


_MESSAGE_TYPE, _PKI_STATUS, _FAIL_INFO = _oid(2), _oid(3), _oid(4)
_SENDER_NONCE, _RECIPIENT_NONCE, _TRANSACTION_ID = _oid(5), _oid(6), _oid(7)


class MessageType(StrEnum):
    """What a message is."""

    CERT_REP = "3"
    RENEWAL_REQ = "17"
    PKCS_REQ = "19"
    CERT_POLL = "20"
    GET_CERT = "21"
    GET_CRL = "22"


class FailInfo(StrEnum):
    """Why a request has failed."""

    BAD_ALG = "0"
    BAD_MESSAGE_CHECK = "1"
    BAD_REQUEST = "2"
    BAD_CERT_ID = "4"


class CannotDecrypt(Exception):
    """The content cannot be decrypted. Why is never told: it would help to decrypt what others have sent."""


class WeakCipher(Exception):
    """The content is encrypted by another algorithm than RSA with AES."""


@dataclass(frozen=True, slots=True)
class ScepMessage:
    """A client's message; its signer has proved that it has the key of ``signer``."""

    type: str
    transaction: bytes
    nonce: bytes
    content: bytes
    signer: x509.Certificate

    @classmethod
    def of(cls, message: SignedMessage) -> "ScepMessage":
        """Return what a signed message says. Raises ``Malformed``."""
        found = message.attributes
        kind = _value(found, _MESSAGE_TYPE, _PRINTABLE_STRING)
        transaction = _value(found, _TRANSACTION_ID, _PRINTABLE_STRING)
        nonce = _value(found, _SENDER_NONCE, OCTET_STRING)
        return cls(kind.decode("latin-1"), transaction, nonce, message.content, message.signer)


@dataclass(frozen=True, slots=True)
class ScepKey:
    """What messages are encrypted for and answers are signed with."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    def opened(self, message: ScepMessage) -> bytes:
        """Return what is in a message. Raises ``CannotDecrypt`` and ``WeakCipher``."""
        try:
            return pkcs7.pkcs7_decrypt_der(message.content, self.certificate, self.key, [])
        except UnsupportedAlgorithm as error:
            raise WeakCipher("the message is not encrypted by RSA and AES") from error
        except Exception as error:
            raise CannotDecrypt("the message cannot be decrypted") from error

    def granted(self, message: ScepMessage, issued: x509.Certificate, nonce: bytes) -> bytes:
        """Return the answer with a certificate, which only the client can read."""
        inner = pkcs7.serialize_certificates([issued], Encoding.DER)
        envelope = (
            pkcs7.PKCS7EnvelopeBuilder()
            .set_data(inner)
            .add_recipient(message.signer)
            .encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])
        )
        return self._answer(message, {_PKI_STATUS: _printable("0")}, nonce, envelope)

    def failed(self, message: ScepMessage, why: FailInfo, nonce: bytes) -> bytes:
        """Return the answer that gives the reason."""
        return self._answer(message, {_PKI_STATUS: _printable("2"), _FAIL_INFO: _printable(why)}, nonce, None)

    def _answer(
        self, message: ScepMessage, attributes: Mapping[bytes, bytes], nonce: bytes, content: bytes | None
    ) -> bytes:
        common = {
            _MESSAGE_TYPE: _printable(MessageType.CERT_REP),
            _TRANSACTION_ID: encoded(_PRINTABLE_STRING, message.transaction),
            _SENDER_NONCE: encoded(OCTET_STRING, nonce),
            _RECIPIENT_NONCE: encoded(OCTET_STRING, message.nonce),
        }
        return write_signed(content, {**common, **attributes}, self.key, self.certificate)


def _value(attributes: Mapping[bytes, bytes], oid: bytes, tag: int) -> bytes:
    found = attributes.get(oid)
    if found is None:
        raise Malformed("an attribute of SCEP is not there")
    start, stop = expect(found, 0, len(found), tag)
    if not 0 < stop - start <= _LONGEST_ID:
        raise Malformed("an attribute of SCEP is empty or too long")
    return found[start:stop]


def _printable(text: str) -> bytes:
    return encoded(_PRINTABLE_STRING, text.encode())
