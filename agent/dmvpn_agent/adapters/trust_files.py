"""The operator's CA certificates and CRLs on disk: single files, and directories of them."""

import errno
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.config import TrustFiles
from dmvpn_agent.core.policy import RevocationList, Trust
from dmvpn_agent.service.trust_watch import TrustRead
from dmvpn_agent.wire.crl import Crl, CrlError, read_crls
from dmvpn_agent.wire.trust import Authority, AuthorityError, chains_to, read_authorities, signed_by

log = structlog.get_logger()

#: A larger file is no CRL of a DMVPN.
MAX_FILE_BYTES = 32 << 20


def read_trust(files: TrustFiles) -> tuple[Trust, tuple[str, ...]]:
    """Return what the files say, and what could not be used."""
    read = TrustFilesReader(files).read()
    return read.trust, read.problems


class TrustFilesReader:
    """Reads CA certificates and CRLs. A CRL counts if one of the CAs signed it, the newest of each issuer."""

    def __init__(self, files: TrustFiles) -> None:
        self._files = files

    def stamp(self) -> Hashable:
        """Return something that is different after a file was changed."""
        return tuple(
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
                found += read_authorities(_read(path))
            except (OSError, AuthorityError) as error:
                problems.append(f"{path}: {_why(error)}; expected CA certificates in PEM or DER")
        return tuple(found), problems

    def read(self) -> TrustRead:
        """Read everything; what cannot be used is a problem, never an exception."""
        authorities, problems = self.authorities()
        paths, unlisted = _list(self._files.crls)
        problems += unlisted
        newest: dict[bytes, Crl] = {}
        for path in paths:
            try:
                found = read_crls(_read(path))
            except (OSError, CrlError) as error:
                problems.append(f"{path}: {_why(error)}; expected CRLs in PEM or DER")
                continue
            for crl in found:
                if not signed_by(crl, authorities):
                    problems.append(
                        f"{path}: the CRL of {crl.issuer} is not signed by a CA in policy.ca_certificates; add its"
                        " certificate there"
                    )
                elif crl.issuer_name not in newest or _age(newest[crl.issuer_name]) < _age(crl):
                    newest[crl.issuer_name] = crl
        problems += [f"{path}: no such file or directory" for path in self._files.crls if _Listing.of(path).missing]
        trust = Trust(
            authorities={authority.certificate.subject_name: authority.certificate for authority in authorities},
            revocations={issuer: _revocations(crl) for issuer, crl in newest.items()},
        )
        return TrustRead(
            trust, tuple(crl.signed.public_bytes(Encoding.DER) for crl in newest.values()), tuple(problems)
        )


class AuthorityFiles:
    """The CA certificates alone, read again when a file has changed."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._reader = TrustFilesReader(TrustFiles(paths, ()))
        self._stamp: Hashable = None
        self._authorities: tuple[Authority, ...] = ()

    def issued(self, certificate: bytes, others: Sequence[bytes]) -> bool:
        """Tell whether a CA issued a certificate (DER), directly or by way of CA certificates among the others."""
        stamp = self._reader.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._authorities, problems = self._reader.authorities()
            log.info("authorities_read", authorities=[one.certificate.subject for one in self._authorities],
                     problems=problems)  # fmt: skip
        return chains_to(certificate, others, self._authorities)


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


def _age(crl: Crl) -> tuple[int, object]:
    return crl.number if crl.number is not None else -1, crl.this_update


def _revocations(crl: Crl) -> RevocationList:
    return RevocationList(crl.issuer, crl.number, crl.this_update, crl.next_update, crl.serials)
