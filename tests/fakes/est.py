"""An EST server (RFC 7030) for tests, which answers what a test wants."""

import base64
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from fakes.http import FakeHttp, answer, http_server

Issue = Callable[[x509.CertificateSigningRequest], Sequence[x509.Certificate]]


def certs_only(*certificates: x509.Certificate) -> bytes:
    """The body of an answer."""
    return base64.encodebytes(pkcs7.serialize_certificates(list(certificates), Encoding.DER))


def request_of(request: bytes) -> x509.CertificateSigningRequest:
    """What a client sent."""
    return x509.load_der_x509_csr(base64.b64decode(request.partition(b"\r\n\r\n")[2]))


@asynccontextmanager
async def est_server(
    folder: Path, own: tuple[bytes, bytes], clients: Sequence[bytes], issue: Issue
) -> AsyncIterator[FakeHttp]:
    """Serve with a certificate and key of the server in PEM; ``clients``: the certificates (DER) that may renew."""
    (folder / "est-server.pem").write_bytes(b"".join(own))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "est-server.pem")
    if clients:
        context.load_verify_locations(cadata=b"".join(clients))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_mode = ssl.CERT_OPTIONAL
    async with http_server(context) as server:

        def enrol(request: bytes) -> bytes:
            return answer(certs_only(*issue(request_of(request))), "200 OK", "Content-Type: application/pkcs7-mime")

        server.replies["/.well-known/est/simplereenroll"] = enrol
        server.replies["/.well-known/est/simpleenroll"] = enrol
        yield server
