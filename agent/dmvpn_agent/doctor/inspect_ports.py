"""Asks the TCP ports that the configuration names which program answers there, for ``dmvpn-agent doctor``."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.config.settings import Config
from dmvpn_agent.crls import mirror
from dmvpn_agent.doctor.node import PortName, PortView
from dmvpn_agent.page import api
from dmvpn_agent.runtime.endpoint import Endpoint
from dmvpn_agent.runtime.http_access import HttpAccess

TIMEOUT = 10.0
#: Each of our ports answers a path that it does not have with a list of those that it has, without a password.
_QUESTION = b"GET /which HTTP/1.0\r\n\r\n"
_ANSWER = b"Here are: "
_METRICS = "/metrics"
_NODES = f"{api.PREFIX}/nodes"
_OPEN = HttpAccess()


async def read_ports(config: Config) -> dict[PortName, PortView]:
    """Return what answers at each port that is configured."""
    ports = {
        PortName.AGENT: (config.metrics, config.metrics_access),
        PortName.BRIDGE: (config.bridge.metrics, config.metrics_access),
        PortName.PAGE: (config.page.listen, config.page.access),
        PortName.MIRROR: (config.crl.listen, _OPEN),
    }
    return {
        name: PortView(str(endpoint), await served(name, endpoint, access))
        for name, (endpoint, access) in ports.items()
        if endpoint
    }


async def served(name: PortName, endpoint: Endpoint, access: HttpAccess = _OPEN) -> bool | None:
    """Return whether our program answers there, as configured; ``None`` if no program listens.

    Certificates are not checked: the question is only which program has the port.
    """
    context = None
    if access.certificate:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    except ssl.SSLError:
        return False
    except (OSError, TimeoutError):
        return None
    try:
        if access.certificate and access.client_ca:
            # It answers only to clients that have a certificate, and the doctor has none.
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return await asyncio.to_thread(_is_first_in, access.certificate, shown)
        async with asyncio.timeout(TIMEOUT):
            writer.write(_QUESTION)
            return _is(name, await _pages(reader))
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        with suppress(AttributeError):  # of Python 3.11, after the end of a connection with TLS
            writer.transport.abort()


async def _pages(reader: asyncio.StreamReader) -> frozenset[str]:
    while line := await reader.readline():
        if line.startswith(_ANSWER):
            return frozenset(line.removeprefix(_ANSWER).decode("ascii").split())
    return frozenset()


def _is(name: PortName, pages: frozenset[str]) -> bool:
    if name is PortName.MIRROR:
        return mirror.PATH in pages
    return _METRICS in pages and (_NODES in pages) is (name is PortName.PAGE)


def _is_first_in(file: Path, shown: bytes | None) -> bool:
    """Tell whether a certificate is the first in a file; also if the doctor cannot read that."""
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())[0].public_bytes(Encoding.DER) == shown
    except (OSError, ValueError):
        return True
