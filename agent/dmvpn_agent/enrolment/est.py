"""Enrolment over Secure Transport (RFC 7030): the CA's certificates, a first certificate, and the next ones."""

import base64
import binascii
from collections.abc import Mapping
from http import HTTPStatus

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

from dmvpn_agent.enrolment.desk import Desk
from dmvpn_agent.enrolment.outcome import Protocol, Refusal, Refused
from dmvpn_agent.enrolment.registrar import Asked, Origin
from dmvpn_agent.runtime.http_access import basic_credential
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Page, error_page

PREFIX = "/.well-known/est"
#: ``CsrAttrs`` (RFC 7030, section 4.5.2): a key of the curve P-384, and ecdsa-with-SHA384.
CSR_ATTRIBUTES = bytes.fromhex("301e 3012 0607 2a8648ce3d0201 3107 0605 2b81040022 0608 2a8648ce3d040303")
_CHALLENGE = ("WWW-Authenticate", 'Basic realm="enrolment", charset="UTF-8"')
_BASE64 = ("Content-Transfer-Encoding", "base64")
_STATUS: Mapping[Refusal, HTTPStatus] = {
    Refusal.TOKEN: HTTPStatus.UNAUTHORIZED,
    Refusal.CERTIFICATE: HTTPStatus.FORBIDDEN,
    Refusal.REQUEST: HTTPStatus.BAD_REQUEST,
    Refusal.ALGORITHM: HTTPStatus.BAD_REQUEST,
    Refusal.DENIED: HTTPStatus.FORBIDDEN,
    Refusal.RATE: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.REGISTRY: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
}
#: What a client may read; for the other reasons, all of it: it has shown which node it is.
_PUBLIC: Mapping[Refusal, str] = {
    Refusal.TOKEN: "the token is not valid",
    Refusal.RATE: "too many requests; try again later",
    Refusal.REGISTRY: "the registry cannot be used now; try again later",
    Refusal.FAILED: "the server has failed",
}


class Est:
    """The paths of EST; only for TLS."""

    def __init__(self, desk: Desk, chain: tuple[x509.Certificate, ...]) -> None:
        """``chain``: the CA that issues, and those above it."""
        self._desk = desk
        self._chain = chain

    @property
    def pages(self) -> dict[str, Page]:
        """Return what is fetched, by path."""
        return {f"{PREFIX}/cacerts": self._cacerts, f"{PREFIX}/csrattrs": self._csrattrs}

    @property
    def posts(self) -> dict[str, Page]:
        """Return what requests are sent to, by path."""
        return {f"{PREFIX}/simpleenroll": self._enroll, f"{PREFIX}/simplereenroll": self._reenroll}

    async def _cacerts(self, _: HttpRequest) -> HttpResponse:
        return _encoded(serialize_certificates(list(self._chain), Encoding.DER), "application/pkcs7-mime")

    async def _csrattrs(self, _: HttpRequest) -> HttpResponse:
        return _encoded(CSR_ATTRIBUTES, "application/csrattrs")

    async def _enroll(self, request: HttpRequest) -> HttpResponse:
        name, token = _credentials(request.headers.get("authorization", ""))
        certificate = None if "authorization" in request.headers else request.certificate
        return await self._answer(request, token, name, certificate)

    async def _reenroll(self, request: HttpRequest) -> HttpResponse:
        if request.certificate is None:
            return error_page(HTTPStatus.FORBIDDEN, text="show the certificate that you renew, in TLS\n")
        return await self._answer(request, "", "", request.certificate)

    async def _answer(self, request: HttpRequest, token: str, name: str, certificate: bytes | None) -> HttpResponse:
        origin = Origin(Protocol.EST, request.source)
        try:
            self._desk.admit(origin)
            asked = Asked(_decoded(request), token, name, certificate)
            issued = await self._desk.answer(origin, lambda: asked)
        except Refused as error:
            headers = [_CHALLENGE] if error.why is Refusal.TOKEN else []
            if error.why in {Refusal.RATE, Refusal.REGISTRY}:
                headers.append(("Retry-After", "60"))
            return error_page(_STATUS[error.why], *headers, text=f"{_PUBLIC.get(error.why, error.text)}\n")
        content = serialize_certificates([issued], Encoding.DER)
        return _encoded(content, "application/pkcs7-mime; smime-type=certs-only")


def _credentials(authorization: str) -> tuple[str, str]:
    """Return name and token of HTTP Basic authentication; empty without it."""
    try:
        text = (basic_credential(authorization) or b"").decode()
    except UnicodeDecodeError:
        text = ""
    name, _, token = text.partition(":")
    return name, token


def _decoded(request: HttpRequest) -> bytes:
    """Return the request for a certificate: base64, with or without line ends (RFC 8951); empty if it is not that."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        body = base64.b64decode(b"".join(request.body.split()), validate=True)
    except binascii.Error:
        return b""
    return body if kind == "application/pkcs10" else b""


def _encoded(content: bytes, kind: str) -> HttpResponse:
    """Return an answer in base64, without line ends: strongSwan reads no others (RFC 8951, section 3.1)."""
    return HttpResponse(base64.b64encode(content), kind, headers=(_BASE64,))
