"""Asks an EST server (RFC 7030) for certificates."""

import ssl
from collections.abc import Awaitable, Callable

from cryptography import x509

from dmvpn_agent.renewal import est
from dmvpn_agent.renewal.est import EstError
from dmvpn_agent.renewal.key_pair import KeyPair
from dmvpn_agent.runtime.http_client import HttpAnswer, HttpFailed, HttpQuestion, Limits, ask
from dmvpn_agent.runtime.memory_file import memory_file
from dmvpn_agent.runtime.url import Url
from dmvpn_agent.x509.private_key import plain_pem

#: The server may have to wait for its registry.
LIMITS = Limits(seconds=60.0, octets=est.MAX_ANSWER)
_REQUEST = ("Content-Type", "application/pkcs10"), ("Content-Transfer-Encoding", "base64")

Ask = Callable[[HttpQuestion, Limits, ssl.SSLContext | None], Awaitable[HttpAnswer]]


class EstRefused(EstError):
    """The server answers, and gives no certificate; the text has its reason.

    ``issued_nothing``: it says that the request is wrong; after another answer, a certificate may exist.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.issued_nothing = 400 <= status < 500


def tls_context(authorities: bytes) -> ssl.SSLContext:
    """Return TLS to a server of these CAs (PEM), and of no other. Raises ``EstError``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A sub-CA alone is enough; and OpenSSL would else want every address block in that of a root, which has none.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (ValueError, ssl.SSLError) as error:
        raise EstError(f"the CAs of the server cannot be used: {error}") from error
    return context


def show_certificate(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Have the client authenticate by this certificate and key. Raises ``EstError``.

    The certificate comes twice: after it OpenSSL would send the CAs that it knows for the server, and a server whose
    OpenSSL sees them refuses address blocks that are not within those of the CA, which most often has none
    (RFC 3779, section 2.3). The CA's own server knows each node's certificate.
    """
    try:
        with memory_file(plain_pem(pair.key) + pair.pem * 2) as file:
            context.load_cert_chain(file)
    except OSError as error:  # ssl.SSLError is one
        raise EstError(f"the present certificate and its key: {error}") from error


class EstClient:
    """One server. ``tls``: whom to trust as the server, and which certificate to show."""

    def __init__(self, server: Url, tls: ssl.SSLContext, ask: Ask = ask) -> None:
        self._server = server
        self._tls = tls
        self._ask = ask

    async def authorities(self) -> tuple[x509.Certificate, ...]:
        """Return the CA's certificates. Raises ``EstError``."""
        return est.decode_certificates(await self._answer(HttpQuestion(est.operation_url(self._server, "cacerts"))))

    async def enroll(self, request: bytes, authorization: str) -> tuple[x509.Certificate, ...]:
        """Ask for a first certificate, with the value of ``Authorization``. Raises ``EstError``."""
        return await self._post("simpleenroll", request, ("Authorization", authorization))

    async def reenroll(self, request: bytes) -> tuple[x509.Certificate, ...]:
        """Ask for the next certificate, by the present one. Raises ``EstError``."""
        return await self._post("simplereenroll", request)

    async def _post(self, operation: str, request: bytes, *fields: tuple[str, str]) -> tuple[x509.Certificate, ...]:
        url = est.operation_url(self._server, operation)
        body = await self._answer(HttpQuestion(url, "POST", (*_REQUEST, *fields), est.encode(request)))
        return est.decode_certificates(body)

    async def _answer(self, question: HttpQuestion) -> bytes:
        if question.url.scheme != "https":
            raise EstError(f"{question.url} is not https: EST is for TLS only")
        try:
            answer = await self._ask(question, LIMITS, self._tls)
        except HttpFailed as error:
            raise EstError(f"{question.url}: {error}") from error
        if answer.status == 202:
            raise EstRefused(
                f"{question.url}: the CA has not decided yet (202); it is asked again later", answer.status
            )
        if answer.status != 200:
            raise EstRefused(f"{question.url} answered {answer.text}", answer.status)
        return answer.body
