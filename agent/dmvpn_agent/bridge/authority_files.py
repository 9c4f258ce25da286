"""The operator's CA certificates, as the bridge needs them."""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import structlog

from dmvpn_agent.x509.certificate import Certificate
from dmvpn_agent.x509.certificate_reader import read_certificate
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust_files import TrustFilesReader
from dmvpn_agent.x509.trust_store import TrustStore

log = structlog.get_logger()

#: Whether a CA of the operator issued a certificate (DER), perhaps by way of CA certificates among others (DER).
IsOurs = Callable[[bytes, Sequence[bytes]], bool]


class AuthorityFiles:
    """The CA certificates without CRLs, read again if a file has changed, and intermediate CAs that peers sent."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._reader = TrustFilesReader(TrustFiles(paths, ()))
        self._stamp: Hashable = None
        self._signer_cache = SignerCache()
        self._store = TrustStore(())
        self._others: Sequence[bytes] = ()

    def issued(self, certificate: bytes, others: Sequence[bytes]) -> bool:
        """Tell whether a CA issued a certificate (DER), directly or by way of CA certificates among the others.

        A CA of the files counts as well, also if its own issuer is not known.
        """
        stamp = self._reader.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            authorities, problems = self._reader.authorities()
            self._store = TrustStore(authorities, self._store.learned, signer_cache=self._signer_cache)
            log.info("authorities_read", authorities=[one.certificate.subject for one in authorities],
                     problems=problems)  # fmt: skip
            self._others = ()
        if any(one.certificate.der == certificate for one in self._store.given):
            return True
        read = read_certificate(certificate)
        if not isinstance(read, Certificate):
            return False
        if not self._store.chains(read).found and others is not self._others:
            self._others = others  # the caller passes the same ones with many certificates
            if learned := self._store.learn(others):
                self._store = TrustStore(
                    self._store.given, (*self._store.learned, *learned), signer_cache=self._signer_cache
                )
        return bool(self._store.chains(read).found)
