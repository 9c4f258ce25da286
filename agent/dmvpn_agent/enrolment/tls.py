"""TLS of the CA's server: its own certificate, and the certificates of nodes that renew."""

import ssl
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.keys import digest_for, new_key, plain_pem
from dmvpn_agent.ca.profile import unbounded
from dmvpn_agent.ca.service_keys import ServiceKey
from dmvpn_agent.runtime.memory_file import memory_file

log = structlog.get_logger()


class ServerTls:
    """How to do TLS with clients, who may show a certificate of the CA. Whether it is good, the registry knows."""

    challenges: tuple[str, ...] = ()

    def __init__(self, authority: x509.Certificate) -> None:
        """``authority``: the CA that issues certificates to nodes."""
        unused = new_key()
        self._anchor = unbounded(authority).sign(unused, digest_for(unused)).public_bytes(Encoding.DER)
        self._context: ssl.SSLContext | None = None
        self._files: object = None

    def context(self) -> ssl.SSLContext:
        """Return how to do TLS with the next client. Raises ``OSError`` while there is no certificate to show."""
        if self._context is None:
            raise OSError("the server has no certificate yet")
        return self._context

    def admits(self, _: str) -> bool:
        """Admit everybody: each path asks for what it needs."""
        return True

    def refused(self, source: str, why: str) -> None:
        """Log that a client did not come in: its certificate, say, is not one that the registry has."""
        log.warning("tls_refused", source=source, why=why)

    def use(self, own: ServiceKey, chain: bytes) -> None:
        """Show this certificate from now on; ``chain``: PEM of the CAs between it and the root."""
        with memory_file(plain_pem(own.key) + own.certificate.public_bytes(Encoding.PEM) + chain) as file:
            self._show(file, None)

    def use_files(self, certificate: Path, key: Path) -> None:
        """Show a certificate of the operator from now on, if it has changed. Raises ``CaError``."""
        try:
            found = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in (certificate, key)]
            if found != self._files:
                self._show(certificate, key)
                self._files = found
        except OSError as error:  # ssl.SSLError is one
            raise CaError(f"{certificate}, {key}: {error}", "name a certificate and its key, in PEM") from error

    def _show(self, certificate: Path, key: Path | None) -> None:
        """Make a new context: the thread of the port may use the one that there is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
        context.load_verify_locations(cadata=self._anchor)
        # No client comes back within the time in which a session could be resumed, and resuming skips the checks.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.load_cert_chain(certificate, key)
        self._context = context
