"""TLS of the CA's server: its own certificate, and the certificates of nodes that renew."""

import ssl
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.profile import unbounded
from dmvpn_agent.ca.service_keys import ServiceKey
from dmvpn_agent.runtime.http_access import FileValue
from dmvpn_agent.runtime.memory_file import memory_file
from dmvpn_agent.runtime.owner_rights import user_name
from dmvpn_agent.x509.private_key import digest_for, new_key, plain_pem

log = structlog.get_logger()


class ServerTls:
    """How to do TLS with clients, who may show a certificate of the CA. Whether it is good, the registry knows."""

    challenges: tuple[str, ...] = ()

    def __init__(self, authority: x509.Certificate, files: tuple[Path, Path] | None = None) -> None:
        """``authority``: the CA that issues certificates to nodes; ``files``: the operator's certificate and key."""
        unused = new_key()
        self._anchor = unbounded(authority).sign(unused, digest_for(unused)).public_bytes(Encoding.DER)
        self._context: ssl.SSLContext | None = None
        self._files = FileValue(files, lambda: self._made(*files)) if files is not None else None
        self._names = ", ".join(map(str, files or ()))

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
            self._context = self._made(file, None)

    def use_files(self) -> bool:
        """Show the operator's certificate as it is now; return whether there is one. Raises ``CaError``.

        A former one stays in use as long as the files cannot be used.
        """
        if self._files is None:
            return False
        try:
            self._context = self._files()
        except OSError as error:  # ssl.SSLError is one
            do = f"name a certificate and its key, in PEM, which {user_name()} can read"
            raise CaError(f"{self._names}: {error.strerror or error}", do) from error
        return True

    def _made(self, certificate: Path, key: Path | None) -> ssl.SSLContext:
        """Return a new context: the thread of the port may use the one that there is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
        context.load_verify_locations(cadata=self._anchor)
        # No client comes back within the time in which a session could be resumed, and resuming skips the checks.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.load_cert_chain(certificate, key)
        return context
