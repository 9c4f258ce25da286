"""Serves the CRLs in force to other nodes, which name this address in ``crl.mirrors``."""

from collections.abc import Callable
from http import HTTPStatus
from ssl import DER_cert_to_PEM_cert

from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import AccessGuard, HttpAccess
from dmvpn_agent.runtime.http_document import Document
from dmvpn_agent.runtime.http_server import HttpServer
from dmvpn_agent.runtime.http_site import HttpRequest, HttpResponse, Site
from dmvpn_agent.runtime.telemetry import Telemetry

#: The page with all CRLs, in PEM.
PATH = "/crl.pem"
CONTENT_TYPE = "application/x-pem-file"


class CrlMirror:
    """A small HTTP server. ``crls`` returns the CRLs in force (DER); all of them were verified."""

    def __init__(self, endpoint: Endpoint, crls: Callable[[], tuple[bytes, ...]], telemetry: Telemetry) -> None:
        self._crls = crls
        self._shown: tuple[tuple[bytes, ...], Document] = (), Document(b"", CONTENT_TYPE)
        site = Site({PATH: self._page}, name="crl_mirror")
        self._server = HttpServer(endpoint, AccessGuard(HttpAccess()), site, telemetry)

    def start(self) -> None:
        """Listen. Raises ``OSError``, for one thing while the tunnel interface lacks the address."""
        self._server.start()

    def stop(self) -> None:
        """Close the server."""
        self._server.stop()

    async def _page(self, request: HttpRequest) -> HttpResponse:
        crls = self._crls()
        if not crls:
            return HttpResponse(b"there is no CRL here yet\n", status=HTTPStatus.NOT_FOUND)
        if crls is not self._shown[0]:
            self._shown = crls, Document(b"".join(map(_pem, crls)), CONTENT_TYPE)
        return self._shown[1].answer(request)


def _pem(der: bytes) -> bytes:
    return DER_cert_to_PEM_cert(der).replace(" CERTIFICATE-----", " X509 CRL-----").encode()
