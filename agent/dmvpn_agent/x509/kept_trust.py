"""CAs and CRLs that outlast a restart: each signer's newest CRLs, and intermediate CAs that peers sent.

The files are DER and named by their signer, so an operator can read one with openssl, and delete it. They are trusted
no more than the operator's files: signatures are verified at every read.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import structlog

from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.x509.authorities import Authority, AuthorityError, read_authorities
from dmvpn_agent.x509.crl import Crl, CrlError, read_crls
from dmvpn_agent.x509.crl_index import SignedCrl
from dmvpn_agent.x509.trust_paths import read_bounded

log = structlog.get_logger()

_CRL, _CA = ".crl", ".crt"
_SEEN = "policy.ca_certificates-was-not-empty"


class KeptTrust:
    """A directory in the state directory, created when needed; ``None`` keeps everything in memory.

    ``writes``: whether files are written; commands such as ``explain`` write none. What cannot be written stays in
    memory, and the error is logged once.
    """

    def __init__(self, directory: Path | None, *, writes: bool = True) -> None:
        self._directory = directory
        self._writes = writes and directory is not None
        self._crls: dict[str, Crl] | None = None
        self._authorities: dict[str, Authority] = {}
        self._had_authorities = False
        self._trouble = Trouble()

    def crls(self) -> tuple[Crl, ...]:
        """Return the CRLs that are kept."""
        return tuple(self._loaded().values())

    def authorities(self) -> tuple[Authority, ...]:
        """Return the intermediate CAs that are kept."""
        self._loaded()
        return tuple(self._authorities.values())

    @property
    def had_authorities(self) -> bool:
        """Tell whether the operator ever had a CA certificate, or an unreadable file in its place."""
        if self._had_authorities or self._directory is None:
            return self._had_authorities
        try:
            (self._directory / _SEEN).stat()  # from Python 3.14 on, exists() hides why it is False
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # assume one: an unreadable directory must not let a peer in
        return True

    def note_authorities(self) -> None:
        """Remember that the operator has CA certificates."""
        if not self.had_authorities:
            self._write(_SEEN, b"")
        self._had_authorities = True

    def file_of(self, crl: SignedCrl) -> str:
        """Return the file of a signer's CRL, for people."""
        name = next((name for name, kept in self._loaded().items() if kept.digest == crl.crl.digest), _name(crl))
        return str((self._directory or Path()) / (name + _CRL))

    def keep(self, crls: Iterable[SignedCrl]) -> None:
        """Keep these CRLs, and drop the former ones of the same signers."""
        signers: dict[str, dict[str, Crl]] = {}
        for crl in crls:
            signers.setdefault(_name(crl), {})[crl.crl.digest] = crl.crl
        for name, of_signer in signers.items():
            self._keep_of_signer(name, of_signer)

    def _keep_of_signer(self, signer: str, of_signer: dict[str, Crl]) -> None:
        """Keep a signer's CRLs, nearly always one: the first under the signer's name, others with their digest."""
        kept = self._loaded()
        former = {name: crl.digest for name, crl in kept.items() if name.partition("-")[0] == signer}
        new = {digest: crl for digest, crl in of_signer.items() if digest not in former.values()}
        for digest, crl in new.items():
            free = former.get(signer) not in of_signer
            name = signer if free else f"{signer}-{digest[:32]}"
            kept[name] = crl
            former[name] = digest
            self._write(name + _CRL, crl.der)
        for name, digest in former.items():
            if digest not in of_signer:
                del kept[name]
                self._remove(name + _CRL)

    def keep_authorities(self, authorities: Iterable[Authority]) -> None:
        """Keep these intermediate CAs too."""
        self._loaded()
        for authority in authorities:
            name = authority.certificate.fingerprint[:32]
            self._authorities[name] = authority
            self._write(name + _CA, authority.certificate.der)

    def _loaded(self) -> dict[str, Crl]:
        if self._crls is None:
            self._crls = {}
            for path in self._files():
                self._load(path, self._crls)
        return self._crls

    def _files(self) -> list[Path]:
        if self._directory is None:
            return []
        try:
            return sorted(self._directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self._log(f"{self._directory}: {error.strerror}")
            return []

    def _load(self, path: Path, crls: dict[str, Crl]) -> None:
        try:
            if not path.is_file():  # root reads what the agent wrote: no FIFO or device
                return
            if path.suffix == _CRL:
                (crls[path.stem],) = read_crls(read_bounded(path))
            elif path.suffix == _CA:
                (self._authorities[path.stem],) = read_authorities(read_bounded(path))
        except (OSError, CrlError, AuthorityError, ValueError) as error:
            self._log(f"{path}: {error}")

    def _write(self, name: str, data: bytes) -> None:
        if not self._writes or self._directory is None:
            return
        path, other = self._directory / name, self._directory / f".{name}.new"
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            other.write_bytes(data)
            other.replace(path)
        except OSError as error:
            self._log(f"{path}: {error.strerror}")

    def _remove(self, name: str) -> None:
        if not self._writes or self._directory is None:
            return
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            self._log(f"{self._directory / name}: {error.strerror}")

    def _log(self, trouble: str) -> None:
        if self._writes and self._trouble.is_new(trouble):
            log.error("trust_not_kept", why=trouble, consequence="an older CRL may replace this one after a restart",
                      do="check whether the state directory is full, read-only or owned by another user")  # fmt: skip


def _name(crl: SignedCrl) -> str:
    return hashlib.sha256(len(crl.key).to_bytes(1) + crl.key + crl.crl.name).hexdigest()[:32]
