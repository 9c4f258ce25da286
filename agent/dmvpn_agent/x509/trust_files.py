"""The operator's CA certificates and CRLs on disk, read into what is in force."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from dmvpn_agent.runtime.clocks import utc_now
from dmvpn_agent.x509.authorities import Authority, AuthorityError, read_authorities
from dmvpn_agent.x509.crl import Crl, CrlError, read_crls
from dmvpn_agent.x509.kept_trust import KeptTrust
from dmvpn_agent.x509.newest_crls import (
    NewestCrls,
    Rollback,
    ambiguity_problems,
    newest_crls,
    postdated_crls,
    postdated_problem,
    size_problem,
    version_of,
)
from dmvpn_agent.x509.pem import has_private_key
from dmvpn_agent.x509.settings import TrustFiles
from dmvpn_agent.x509.signer_cache import SignerCache
from dmvpn_agent.x509.trust import CRL_SKEW, Trust
from dmvpn_agent.x509.trust_paths import Listing, file_stamp, list_files, read_bounded, why
from dmvpn_agent.x509.trust_store import TrustStore

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TrustRead:
    """What the files contain. ``crls``: the CRLs in force in DER. ``problems``: what could not be used, and why.

    ``rolled_back``: older CRLs that were offered in place of newer ones; ``missing``: CRLs in force that no file has
    any more; both as text for people.
    """

    trust: Trust
    crls: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """Why CRLs that were fetched are not used; ``is_rollback``: because the one in force is newer."""

    why: str
    is_rollback: bool = False


class _Offered(NamedTuple):
    """A CRL in one of the operator's files."""

    path: Path
    crl: Crl


def read_trust(files: TrustFiles) -> tuple[Trust, tuple[str, ...]]:
    """Return what the files contain, and the problems; for commands, which write nothing."""
    read = TrustFilesReader(files, KeptTrust(files.kept, writes=False)).read()
    return read.trust, read.problems


class TrustFilesReader:
    """Reads CA certificates and CRLs. A CRL counts if a CA or its CRL signer signed it; of each signer the newest.

    ``kept`` has the newest CRLs that were ever read; without it, those in the files count. A CRL that is dated in the
    future does not replace another before its time: a CA may sign its CRLs in advance.
    """

    def __init__(
        self,
        files: TrustFiles,
        kept: KeptTrust | None = None,
        signer_cache: SignerCache | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._files = files
        self._kept = kept or KeptTrust(None)
        self._signer_cache = signer_cache or SignerCache()
        self._store = TrustStore(())
        self._clock = clock
        self._due: datetime | None = None

    def stamp(self) -> Hashable:
        """Return a value that changes when a file changes, or when the time of a postdated CRL has come."""
        due = (self._due,) if self._due is not None and self._due <= self._clock() else ()
        return *due, *(
            (str(path), file_stamp(path))
            for given in (*self._files.authorities, *self._files.crls, *self._fetched)
            for path in Listing.of(given).files
        )

    def authorities(self) -> tuple[tuple[Authority, ...], list[str]]:
        """Return the CA certificates, and the problems."""
        paths, problems = list_files(self._files.authorities)
        found: list[Authority] = []
        for path in paths:
            try:
                data = read_bounded(path)
                found += read_authorities(data)
                if has_private_key(data):
                    problems.append(f"{path}: contains a private key; move it away, it is not needed here")
            except (OSError, AuthorityError) as error:
                problems.append(f"{path}: {why(error)}; expected CA certificates in PEM or DER")
        return tuple(found), problems

    def read(self) -> TrustRead:
        """Read everything; what cannot be used is a problem, never an exception."""
        authorities, problems = self.authorities()
        offered, unreadable = self._offered()
        problems += unreadable
        newest, crl_problems = self._choose(authorities, offered)
        problems += crl_problems
        self._kept.keep(newest.in_force)
        requires_chain = self._requires_chain()
        self._store = self._new_store(authorities, [crl.crl for crl in newest.in_force])
        return TrustRead(
            self._store.trust(requires_chain=requires_chain),
            tuple(crl.crl.der for crl in newest.in_force),
            tuple(problems),
            rolled_back=tuple(map(self._rollback_text, newest.rollbacks)),
            missing=tuple(f"{crl.crl.issuer} (kept in {self._kept.file_of(crl)})" for crl in newest.missing),
        )

    def learn(self, certificates: Iterable[bytes]) -> bool:
        """Learn the CA certificates (DER) among these that a known CA issued; tell whether there were any."""
        learned = self._store.learn(certificates)
        self._kept.keep_authorities(learned)
        for authority in learned:
            log.info("intermediate_ca_learned", subject=authority.certificate.subject,
                     issuer=authority.certificate.issuer)  # fmt: skip
        return bool(learned)

    def refusal(self, crls: Iterable[Crl]) -> Refusal | None:
        """Return why one of these CRLs, in a file, would not be used; ``None`` if all would be."""
        offered, kept = tuple(crls), self._kept.crls()
        store = self._new_store(self.authorities()[0], (*offered, *kept))
        digests = {crl.digest for crl in offered}
        for unused in store.unused:
            if unused.crl.digest in digests:
                return Refusal(f"the CRL of {unused.crl.issuer} {unused.why}")
        newest = newest_crls(store.crls, digests, {crl.digest for crl in kept})
        return next((Refusal(self._rollback_text(one), is_rollback=True) for one in newest.rollbacks), None)

    @property
    def _fetched(self) -> tuple[Path, ...]:
        return (self._files.fetched,) if self._files.fetched else ()

    def _choose(self, authorities: Iterable[Authority], offered: list[_Offered]) -> tuple[NewestCrls, list[str]]:
        """Choose the CRLs in force among those offered and kept; return them with the problems."""
        kept = self._kept.crls()
        store = self._new_store(authorities, (*(one.crl for one in offered), *kept))
        unused = {one.crl.digest: one.why for one in store.unused}
        problems = [
            f"{path}: the CRL of {crl.issuer} {unused[crl.digest]}" for path, crl in offered if crl.digest in unused
        ]
        problems += [f"{path}: no such file or directory" for path in self._files.crls if Listing.of(path).missing]
        digests = {crl.digest for crl in kept}
        postdated = postdated_crls(store.crls, digests, self._clock() + CRL_SKEW)
        self._due = min((crl.crl.this_update - CRL_SKEW for crl in postdated), default=None)
        current = [crl for crl in store.crls if crl not in postdated]
        newest = newest_crls(current, {one.crl.digest for one in offered}, digests)
        problems += [postdated_problem(crl.crl) for crl in postdated]
        problems += ambiguity_problems(newest.in_force)
        if (limit := self._files.charon_crl_limit) is not None:
            problems += [size_problem(crl.crl, limit) for crl in newest.in_force if len(crl.crl.der) > limit]
        return newest, problems

    def _requires_chain(self) -> bool:
        """Tell whether the operator has CAs, even if their files vanished or cannot be read at the moment."""
        if not self._files.authorities:
            return False
        if any(list_files(self._files.authorities)):
            self._kept.note_authorities()
        return self._kept.had_authorities

    def _new_store(self, authorities: Iterable[Authority], crls: Iterable[Crl]) -> TrustStore:
        return TrustStore(authorities, self._kept.authorities(), crls, self._signer_cache)

    def _offered(self) -> tuple[list[_Offered], list[str]]:
        """Return the CRLs in the operator's files, and the problems."""
        paths, problems = list_files((*self._files.crls, *self._fetched))
        found: list[_Offered] = []
        for path in paths:
            try:
                found += [_Offered(path, crl) for crl in read_crls(read_bounded(path))]
            except (OSError, CrlError) as error:
                problems.append(f"{path}: {why(error)}; expected CRLs in PEM or DER")
        return found, problems

    def _rollback_text(self, rollback: Rollback) -> str:
        offered, in_force = rollback.offered.crl, rollback.in_force.crl
        return (
            f"the CRL of {offered.issuer} {version_of(offered)} is older than the one in force"
            f" {version_of(in_force)}; if that one was a mistake of the CA, delete"
            f" {self._kept.file_of(rollback.in_force)} and restart the agent"
        )
