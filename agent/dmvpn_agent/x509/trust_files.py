"""The operator's CA certificates and CRLs on disk: single files, and directories of them."""

from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from pathlib import Path

import structlog

from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.authorities import Authority, AuthorityError, read_authorities
from dmvpn_agent.x509.crl import Crl, CrlError, read_crls
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.newest_crls import _early, _newest, _numbered, _several, _too_long, _unused, _waiting
from dmvpn_agent.x509.pem import has_private_key
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.trust import CRL_SKEW, Trust
from dmvpn_agent.x509.trust_paths import _list, _Listing, _read, _status, _why
from dmvpn_agent.x509.trust_store import SignedCrl, SignerCache, TrustStore
from dmvpn_agent.x509.trust_watch import TrustRead

log = structlog.get_logger()


def read_trust(files: TrustFiles) -> tuple[Trust, tuple[str, ...]]:
    """Return what the files say, and what could not be used."""
    read = TrustFilesReader(files, KeptTrust(files.kept, writes=False)).read()
    return read.trust, read.problems


class TrustFilesReader:
    """Reads CA certificates and CRLs. A CRL counts if a CA or its CRL signer signed it, the newest of each signer.

    ``kept`` has the newest ones that were ever read; without it, those in the files count as they are. A CRL that is
    dated in the future takes no other's place before its time: a CA may sign its lists in advance.
    """

    def __init__(
        self,
        files: TrustFiles,
        kept: KeptTrust | None = None,
        signatures: SignerCache | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._files = files
        self._kept = kept or KeptTrust(None)
        self._signatures = signatures or SignerCache()
        self._store = TrustStore(())
        self._clock = clock
        self._due: datetime | None = None

    def stamp(self) -> Hashable:
        """Return something that is different after a file was changed, or when a CRL's time has come."""
        due = (self._due,) if self._due is not None and self._due <= self._clock() else ()
        return *due, *(
            (str(path), _status(path))
            for given in (*self._files.authorities, *self._files.crls)
            for path in _Listing.of(given).files
        )

    def authorities(self) -> tuple[tuple[Authority, ...], list[str]]:
        """Return the CA certificates, and what could not be used."""
        paths, problems = _list(self._files.authorities)
        found: list[Authority] = []
        for path in paths:
            try:
                data = _read(path)
                found += read_authorities(data)
                if has_private_key(data):
                    problems.append(f"{path}: a private key is in it too; move that away, nobody needs it here")
            except (OSError, AuthorityError) as error:
                problems.append(f"{path}: {_why(error)}; expected CA certificates in PEM or DER")
        return tuple(found), problems

    def read(self) -> TrustRead:
        """Read everything; what cannot be used is a problem, never an exception."""
        authorities, problems = self.authorities()
        offered, unread = self._offered()
        kept = self._kept.crls()
        signed = self._trust_store(authorities, (*(crl for _, crl in offered), *kept))
        problems += unread
        problems += _unused(signed, offered)
        problems += [f"{path}: no such file or directory" for path in self._files.crls if _Listing.of(path).missing]
        digests = {crl.digest for crl in kept}
        waiting = _waiting(signed.crls, digests, self._clock() + CRL_SKEW)
        self._due = min((crl.crl.this_update - CRL_SKEW for crl in waiting), default=None)
        in_force = [crl for crl in signed.crls if crl not in waiting]
        newest, older, missing = _newest(in_force, {crl.digest for _, crl in offered}, digests)
        problems += [_early(crl.crl) for crl in waiting]
        problems += _several(newest)
        self._kept.keep(newest)
        if (limit := self._files.charon_takes) is not None:
            problems += [_too_long(crl.crl, limit) for crl in newest if len(crl.crl.der) > limit]
        asks = self._asks_for_chains()
        self._store = self._trust_store(authorities, [crl.crl for crl in newest])
        return TrustRead(
            self._store.trust(requires_chain=asks),
            tuple(crl.crl.der for crl in newest),
            tuple(problems),
            rolled_back=tuple(self._rolled_back(crl, by) for crl, by in older),
            missing=tuple(f"{crl.crl.issuer} (kept in {self._kept.file_of(crl)})" for crl in missing),
        )

    def _asks_for_chains(self) -> bool:
        """Tell whether there are CAs, also where their files vanished, or cannot be read at the moment."""
        if not self._files.authorities:
            return False
        if any(_list(self._files.authorities)):
            self._kept.note_authorities()
        return self._kept.had_authorities

    def learn(self, certificates: Iterable[bytes]) -> bool:
        """Take up the CA certificates (DER) among these that a known CA issued; tell whether there were any."""
        learned = self._store.learn(certificates)
        self._kept.keep_authorities(learned)
        for authority in learned:
            log.info("intermediate_ca_learned", subject=authority.certificate.subject,
                     issuer=authority.certificate.issuer)  # fmt: skip
        return bool(learned)

    def _trust_store(self, authorities: Iterable[Authority], crls: Iterable[Crl]) -> TrustStore:
        return TrustStore(authorities, self._kept.authorities(), crls, self._signatures)

    def _offered(self) -> tuple[list[tuple[Path, Crl]], list[str]]:
        """Return the CRLs in the operator's files, and what could not be used."""
        paths, problems = _list(self._files.crls)
        found: list[tuple[Path, Crl]] = []
        for path in paths:
            try:
                found += [(path, crl) for crl in read_crls(_read(path))]
            except (OSError, CrlError) as error:
                problems.append(f"{path}: {_why(error)}; expected CRLs in PEM or DER")
        return found, problems

    def _rolled_back(self, crl: SignedCrl, newer: SignedCrl) -> str:
        return (
            f"the CRL of {crl.crl.issuer} {_numbered(crl.crl)} is older than the one in force"
            f" {_numbered(newer.crl)}; if that one was a mistake of the CA, delete {self._kept.file_of(newer)} and"
            " restart the agent"
        )
