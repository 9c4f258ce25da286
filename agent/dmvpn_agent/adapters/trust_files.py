"""The operator's CA certificates and CRLs on disk: single files, and directories of them."""

import errno
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from dmvpn_agent.adapters.kept_trust import KeptTrust
from dmvpn_agent.config import TrustFiles
from dmvpn_agent.core.model import Certificate
from dmvpn_agent.core.policy import CRL_SKEW, Trust
from dmvpn_agent.service.clocks import utc_now
from dmvpn_agent.service.trust_watch import TrustRead
from dmvpn_agent.wire.certificate import read_certificate
from dmvpn_agent.wire.crl import Crl, CrlError, read_crls
from dmvpn_agent.wire.name import CanonicalName
from dmvpn_agent.wire.pem import has_private_key
from dmvpn_agent.wire.trust import (
    Authority,
    AuthorityError,
    Signatures,
    SignedCrl,
    TrustStore,
    read_authorities,
)
from dmvpn_agent.wire.vici import MAX_VALUE

log = structlog.get_logger()


#: A larger file is no CRL of a DMVPN.
MAX_FILE_BYTES = 32 << 20


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
        signatures: Signatures | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._files = files
        self._kept = kept or KeptTrust(None)
        self._signatures = signatures or Signatures()
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
        if self._files.for_charon:
            problems += [_too_long(crl.crl) for crl in newest if len(crl.crl.der) > MAX_VALUE]
        asks = self._asks_for_chains()
        self._store = self._trust_store(authorities, [crl.crl for crl in newest])
        return TrustRead(
            self._store.trust(asks_for_chains=asks),
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


class AuthorityFiles:
    """The CA certificates alone, read again when a file has changed, and the intermediate CAs that peers showed."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._reader = TrustFilesReader(TrustFiles(paths, ()))
        self._stamp: Hashable = None
        self._signatures = Signatures()
        self._store = TrustStore(())
        self._others: Sequence[bytes] = ()

    def issued(self, certificate: bytes, others: Sequence[bytes]) -> bool:
        """Tell whether a CA issued a certificate (DER), directly or by way of CA certificates among the others."""
        stamp = self._reader.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            authorities, problems = self._reader.authorities()
            self._store = TrustStore(authorities, self._store.learned, signatures=self._signatures)
            log.info("authorities_read", authorities=[one.certificate.subject for one in authorities],
                     problems=problems)  # fmt: skip
            self._others = ()
        read = read_certificate(certificate)
        if not isinstance(read, Certificate):
            return False
        if not self._store.chains(read).found and others is not self._others:
            self._others = others  # the same ones are shown for each of many certificates
            if learned := self._store.learn(others):
                self._store = TrustStore(
                    self._store.given, (*self._store.learned, *learned), signatures=self._signatures
                )
        return bool(self._store.chains(read).found)


def _unused(store: TrustStore, offered: Sequence[tuple[Path, Crl]]) -> Iterator[str]:
    unused = {one.crl.digest: one.why for one in store.unused}
    for path, crl in offered:
        if crl.digest in unused:
            yield f"{path}: the CRL of {crl.issuer} {unused[crl.digest]}"


def _waiting(crls: Sequence[SignedCrl], kept: Set[str], until: datetime) -> list[SignedCrl]:
    """Return the lists dated later than ``until`` whose signer has another one that counts now.

    One that was in force before stays so: the clock may have been set back.
    """
    early = [crl for crl in crls if crl.crl.this_update > until and crl.crl.digest not in kept]
    served = {(crl.crl.name, crl.key) for crl in crls if crl not in early}
    return [crl for crl in early if (crl.crl.name, crl.key) in served]


def _early(crl: Crl) -> str:
    return (
        f"the CRL of {crl.issuer} {_numbered(crl)} is dated in the future and takes the former one's place then; if"
        " that is not meant, look whether the clocks of this node and of the CA are right"
    )


Newest = tuple[list[SignedCrl], list[tuple[SignedCrl, SignedCrl]], list[SignedCrl]]


def _newest(crls: Iterable[SignedCrl], offered: Set[str], kept: Set[str]) -> Newest:
    """Return each signer's newest list; older ones offered in its place, with it; and those not offered at all.

    Of lists that nothing says which is newer, all count: none takes back what another revokes.
    """
    signers: dict[tuple[CanonicalName, bytes], dict[str, SignedCrl]] = {}
    for crl in crls:
        signers.setdefault((crl.crl.name, crl.key), {})[crl.crl.digest] = crl
    newest, older, missing = [], [], []
    for lists in map(list[SignedCrl], map(dict.values, signers.values())):
        held = max((crl for crl in lists if crl.crl.digest in kept), key=_age, default=None)
        latest = max((crl for crl in lists if crl.crl.digest in offered), key=_age, default=None)
        first = held if held is not None and (latest is None or _is_older(latest.crl, held.crl)) else latest
        if first is None:
            continue
        newest += [first, *(crl for crl in lists if crl is not first and _is_alike(crl.crl, first.crl))]
        if latest is None:
            missing.append(first)
        elif first is not latest:
            older.append((latest, first))
    return newest, older, missing


def _age(signed: SignedCrl) -> tuple[int, object]:
    crl = signed.crl
    return crl.number if crl.number is not None else -1, crl.this_update


def _is_older(crl: Crl, held: Crl) -> bool:
    """Tell whether a list must not replace the one in force: of number and date, neither may go back."""
    numbered = crl.number is not None and held.number is not None and crl.number < held.number
    return numbered or crl.this_update < held.this_update


def _is_alike(crl: Crl, other: Crl) -> bool:
    """Tell whether neither number nor date says which of two lists is the newer one."""
    return crl.this_update == other.this_update and (crl.number == other.number or None in (crl.number, other.number))


def _several(newest: Iterable[SignedCrl]) -> Iterator[str]:
    lists = Counter((crl.crl.issuer, crl.crl.name, crl.key, crl.crl.this_update) for crl in newest)
    for (issuer, _, _, update), count in lists.items():
        if count > 1:
            yield (
                f"there are {count} CRLs of {issuer} of {update} that differ, and no number says which is the newer"
                " one: what any of them revokes counts; have the CA issue one with a higher number"
            )


def _numbered(crl: Crl) -> str:
    return f"(number {'none' if crl.number is None else crl.number}, of {crl.this_update})"


def _too_long(crl: Crl) -> str:
    return (
        f"the CRL of {crl.issuer} is {len(crl.der)} bytes long, and charon takes {MAX_VALUE} at most over VICI: the"
        " agent enforces it, charon does not know it; have charon fetch it itself (crl_uris in an authorities section"
        " of swanctl.conf, and its curl or files plugin), or set ike.load_crls = false"
    )


class _Listing(NamedTuple):
    """A path of the configuration: the file itself, or those in the directory."""

    files: tuple[Path, ...]
    problem: str | None = None
    missing: bool = False

    @classmethod
    def of(cls, path: Path) -> "_Listing":
        try:
            if path.is_dir():
                # A file that is still being written has a dot in front until it is renamed.
                entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
                return cls(tuple(entry for entry in entries if entry.is_file()))
            return cls((path,)) if path.exists() else cls((), missing=True)
        except OSError as error:
            return cls((), problem=f"{path}: {_why(error)}; may the agent's user read it?")


def _list(given: tuple[Path, ...]) -> tuple[list[Path], list[str]]:
    """Return the files of these paths, and what could not be looked into."""
    listings = [_Listing.of(path) for path in given]
    files = [file for listing in listings for file in listing.files]
    return files, [listing.problem for listing in listings if listing.problem]


def _status(path: Path) -> Hashable:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"longer than {MAX_FILE_BYTES} bytes")
    return data


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
