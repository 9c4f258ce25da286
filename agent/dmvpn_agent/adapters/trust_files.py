"""The operator's CA certificates and CRLs on disk: single files, and directories of them."""

import os
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

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
            (str(path), status.st_mtime_ns, status.st_size, status.st_ino)
            for path in _paths((*self._files.authorities, *self._files.crls))
            if (status := _status(path)) is not None
        )

    def authorities(self) -> tuple[tuple[Authority, ...], list[str]]:
        """Return the CA certificates, and what could not be used."""
        problems: list[str] = []
        found: list[Authority] = []
        for path in _paths(self._files.authorities):
            try:
                found += read_authorities(_read(path))
            except (OSError, AuthorityError) as error:
                problems.append(f"{path}: {error}; expected CA certificates in PEM or DER")
        return tuple(found), problems

    def read(self) -> TrustRead:
        """Read everything; what cannot be used is a problem, never an exception."""
        authorities, problems = self.authorities()
        newest: dict[bytes, Crl] = {}
        for path in _paths(self._files.crls):
            try:
                found = read_crls(_read(path))
            except (OSError, CrlError) as error:
                problems.append(f"{path}: {error}; expected CRLs in PEM or DER")
                continue
            for crl in found:
                if not signed_by(crl, authorities):
                    problems.append(
                        f"{path}: the CRL of {crl.issuer} is not signed by a CA in policy.ca_certificates; add its"
                        " certificate there"
                    )
                elif crl.issuer_name not in newest or _age(newest[crl.issuer_name]) < _age(crl):
                    newest[crl.issuer_name] = crl
        problems += [f"{path}: no such file or directory" for path in self._files.crls if not path.exists()]
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


def _paths(given: tuple[Path, ...]) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            # A file that is still being written has a name of its own until it is renamed.
            yield from sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
        elif path.exists():
            yield path


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise CrlError(f"longer than {MAX_FILE_BYTES} bytes")
    return data


def _age(crl: Crl) -> tuple[int, object]:
    return crl.number if crl.number is not None else -1, crl.this_update


def _revocations(crl: Crl) -> RevocationList:
    return RevocationList(crl.issuer, crl.number, crl.this_update, crl.next_update, crl.serials)
