"""The Simple Certificate Enrolment Protocol (RFC 8894), for routers that have nothing else.

Messages are signed and encrypted, so that it needs no TLS. A client that has no certificate yet signs by a key of its
own, which must be the one in its request; the token is the challenge password there.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from cryptography.x509.oid import AttributeOID

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.issuing import read_request
from dmvpn_agent.ca.tokens import key_digest
from dmvpn_agent.enrolment.desk import Desk
from dmvpn_agent.enrolment.outcome import Protocol, Refusal, Refused
from dmvpn_agent.enrolment.registrar import Asked, Origin
from dmvpn_agent.enrolment.scep_message import CannotDecrypt, FailInfo, MessageType, ScepKey, ScepMessage, WeakCipher
from dmvpn_agent.enrolment.signed_message import WeakAlgorithm, read_signed
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Page, error_page
from dmvpn_agent.x509.der import Malformed

#: What routers are configured with; IOS adds the second to an address without a path.
PATHS = ("/scep", "/cgi-bin/pkiclient.exe")
#: strongSwan 5.9.8 mixes up the numbers of these: it believes that SHA-256 and AES are there if SHA-384 is.
CAPABILITIES = "AES\nPOSTPKIOperation\nRenewal\nSHA-256\nSHA-384\nSHA-512\nSCEPStandard\n"
_FAIL_INFO: Mapping[Refusal, FailInfo] = {
    Refusal.TOKEN: FailInfo.BAD_REQUEST,
    Refusal.CERTIFICATE: FailInfo.BAD_REQUEST,
    Refusal.DENIED: FailInfo.BAD_REQUEST,
    Refusal.REQUEST: FailInfo.BAD_MESSAGE_CHECK,
    Refusal.ALGORITHM: FailInfo.BAD_ALG,
}
_STATUS: Mapping[Refusal, HTTPStatus] = {
    Refusal.RATE: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.REGISTRY: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_NONCE = 16


class Scep:
    """The paths of SCEP; with or without TLS."""

    def __init__(self, desk: Desk, own: ScepKey, chain: tuple[x509.Certificate, ...]) -> None:
        """``chain``: the CA that issues, and those above it."""
        self._desk = desk
        self._own = own
        self._chain = chain

    @property
    def pages(self) -> dict[str, Page]:
        """Return what is fetched, by path."""
        return dict.fromkeys(PATHS, self._get)

    @property
    def posts(self) -> dict[str, Page]:
        """Return what messages are sent to, by path."""
        return dict.fromkeys(PATHS, self._post)

    async def _get(self, request: HttpRequest) -> HttpResponse:
        operation = request.query.get("operation", [""])[0]
        if operation == "GetCACaps":
            return HttpResponse(CAPABILITIES.encode())
        if operation == "GetCACert":
            certificates = serialize_certificates([self._own.certificate, *self._chain], Encoding.DER)
            return HttpResponse(certificates, "application/x-x509-ca-ra-cert")
        if operation != "PKIOperation":
            return error_page(HTTPStatus.BAD_REQUEST, text="unknown operation\n")
        text = request.query.get("message", [""])[0].replace(" ", "+")  # which + is in a query
        try:
            return await self._answer(request, base64.b64decode("".join(text.split()), validate=True))
        except (binascii.Error, ValueError):
            return error_page(HTTPStatus.BAD_REQUEST, text="the message is not in base64\n")

    async def _post(self, request: HttpRequest) -> HttpResponse:
        if request.query.get("operation", [""])[0] != "PKIOperation":
            return error_page(HTTPStatus.BAD_REQUEST, text="unknown operation\n")
        return await self._answer(request, request.body)

    async def _answer(self, request: HttpRequest, data: bytes) -> HttpResponse:
        nonce, origin = secrets.token_bytes(_NONCE), Origin(Protocol.SCEP, request.source)
        try:
            self._desk.admit(origin)
        except Refused as error:
            return _later(_STATUS[error.why])
        try:
            message = ScepMessage.of(read_signed(data))
        except WeakAlgorithm as error:
            return error_page(HTTPStatus.BAD_REQUEST, text=f"{error}\n")
        except Malformed as error:
            return error_page(HTTPStatus.BAD_REQUEST, text=f"no message of SCEP: {error}\n")
        if message.type not in {MessageType.PKCS_REQ, MessageType.RENEWAL_REQ}:
            why = FailInfo.BAD_CERT_ID if message.type == MessageType.CERT_POLL else FailInfo.BAD_REQUEST
            return _encoded(self._own.failed(message, why, nonce))
        try:
            issued = await self._desk.answer(origin, self._asked(message))
        except Refused as error:
            if (status := _STATUS.get(error.why)) is not None:
                return _later(status)
            return _encoded(self._own.failed(message, _FAIL_INFO[error.why], nonce))
        return _encoded(self._own.granted(message, issued, nonce))

    def _asked(self, message: ScepMessage) -> Callable[[], Asked]:
        """Return how to read what is asked for. It raises ``Refused``, always alike until all of it is valid."""

        def read() -> Asked:
            try:
                request = self._own.opened(message)
                challenge = _challenge(read_request(request))
            except WeakCipher as error:
                raise Refused(Refusal.ALGORITHM, str(error)) from error
            except (CannotDecrypt, CaError) as error:
                raise Refused(Refusal.REQUEST, str(error)) from error
            signer = message.signer
            if message.type == MessageType.RENEWAL_REQ or signer.issuer != signer.subject:
                return Asked(request, certificate=signer.public_bytes(Encoding.DER))
            return Asked(request, challenge, key=key_digest(signer.public_key()))

        return read


def _challenge(request: x509.CertificateSigningRequest) -> str:
    """Return the challenge password (RFC 2985, section 5.4.1), empty if there is none. Raises ``CaError``."""
    try:
        return request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value.decode()
    except x509.AttributeNotFound:
        return ""
    except ValueError as error:
        raise CaError("the challenge password is no text") from error


def _later(status: HTTPStatus) -> HttpResponse:
    return error_page(status, ("Retry-After", "60"))


def _encoded(content: bytes) -> HttpResponse:
    return HttpResponse(content, "application/x-pki-message")
