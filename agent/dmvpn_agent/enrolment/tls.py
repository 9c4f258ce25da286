"""TLS of the CA's server: its own certificate, and the certificates of nodes that renew."""

import os
import ssl
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.keys import digest_for, new_key, plain_pem
from dmvpn_agent.ca.profile import unbounded
from dmvpn_agent.ca.service_keys import ServiceKey

log = structlog.get_logger()


class ServerTls:
    """How to do TLS with clients, who may show a certificate of the CA. Whether it is good, the registry knows."""

    challenges: tuple[str, ...] = ()

    def __init__(self, authority: x509.Certificate) -> None:
        """``authority``: the CA that issues certificates to nodes."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
        nobody = new_key()
        anchor = unbounded(authority).sign(nobody, digest_for(nobody))
        self._context.load_verify_locations(cadata=anchor.public_bytes(Encoding.DER))
        # No client comes back within the time in which a session could be resumed, and resuming skips the checks.
        self._context.options |= ssl.OP_NO_TICKET
        self._context.num_tickets = 0

    def context(self) -> ssl.SSLContext | None:
        """Return how to do TLS with the next client."""
        return self._context

    def admits(self, _: str) -> bool:
        """Admit everybody: each path asks for what it needs."""
        return True

    def refused(self, source: str, why: str) -> None:
        """Log that a client did not come in: its certificate, say, is not one that the registry has."""
        log.warning("tls_refused", source=source, why=why)

    def use(self, own: ServiceKey, chain: bytes) -> None:
        """Show this certificate from now on; ``chain``: PEM of the CAs between it and the root."""
        descriptor = os.memfd_create(
            "tls", os.MFD_CLOEXEC
        )  # the module reads files only, and the key stays in memory
        try:
            os.write(descriptor, plain_pem(own.key) + own.certificate.public_bytes(Encoding.PEM) + chain)
            self._context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def use_files(self, certificate: Path, key: Path) -> None:
        """Show a certificate of the operator from now on. Raises ``CaError``."""
        try:
            self._context.load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            raise CaError(f"{certificate}, {key}: {error}", "name a certificate and its key, in PEM") from error
