"""Key and certificate on disk: replaced so that swanctl finds a pair that fits, whatever is interrupted.

swanctl loads every file of its directories ``private`` and ``x509``. So the new key is put beside the old one first,
then the new certificate takes the place of the old one, then the new key does. At every moment there is the key of
the certificate; a key too many does no harm.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from dmvpn_agent.renewal.est import EstError, public_octets, read_key
from dmvpn_agent.runtime.whole_file import sync_folder, write_whole
from dmvpn_agent.x509.pem import PemError, der_blocks
from dmvpn_agent.x509.private_key import PrivateKey, new_key, plain_pem
from dmvpn_agent.x509.trust_paths import read_bounded


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key with its certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """Return the certificate as DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def fits(self) -> bool:
        """Tell whether the certificate is of the key."""
        return public_octets(self.key.public_key()) == public_octets(self.certificate.public_key())


def requested_key(file: Path, present: KeyPair | None = None) -> PrivateKey:
    """Return the key of the last request that brought no certificate, which the file has, or else a new one.

    The server answers a request that is sent again only if it is of the same key. The key of the ``present``
    certificate is not taken again. Raises ``OSError``.
    """
    with suppress(FileNotFoundError, EstError):
        key = read_key(read_bounded(file))
        if present is None or public_octets(key.public_key()) != public_octets(present.key.public_key()):
            return key
    key = new_key()
    write_whole(file, plain_pem(key))
    return key


class KeyPairFiles:
    """The two files of swanctl, and what is kept of the former ones in a directory of root's."""

    def __init__(self, certificate: Path, key: Path, kept: Path) -> None:
        self.certificate = certificate
        self.key = key
        self._kept = kept
        self._beside = key.with_name(f"{key.stem}-new{key.suffix}")

    def read(self) -> KeyPair:
        """Finish what was interrupted, and return the pair. Raises ``EstError`` and ``OSError``."""
        pair = KeyPair(_key(self.key), _certificate(self.certificate))
        if self._beside.exists():
            with suppress(EstError):
                beside = KeyPair(_key(self._beside), pair.certificate)
                if beside.fits and not pair.fits:
                    self._finish(beside.key)
                    pair = beside
            self._drop_beside()
        if not pair.fits:
            raise EstError(f"{self.key} is not the key of {self.certificate}; put back the one that belongs to it,"
                           " or run `dmvpn-agent setup` with the node's bundle")  # fmt: skip
        return pair

    def replace(self, pair: KeyPair) -> None:
        """Put a new pair in place, and keep the former one. Raises ``OSError``; then the former one is in use."""
        for name, file in (("former-key.pem", self.key), ("former-certificate.pem", self.certificate)):
            write_whole(self._kept / name, read_bounded(file))
        try:
            write_whole(self._beside, plain_pem(pair.key))
            self._put(self.certificate, pair.pem)
        except OSError:
            with suppress(OSError):
                self._drop_beside()
            raise
        self._finish(pair.key)
        self._drop_beside()

    def _finish(self, key: PrivateKey) -> None:
        self._put(self.key, plain_pem(key))

    @staticmethod
    def _put(file: Path, data: bytes) -> None:
        status = file.stat()
        write_whole(file, data, mode=status.st_mode & 0o7777, owner=(status.st_uid, status.st_gid))

    def _drop_beside(self) -> None:
        self._beside.unlink(missing_ok=True)
        sync_folder(self._beside.parent)


def _key(file: Path) -> PrivateKey:
    try:
        return read_key(read_bounded(file))
    except EstError as error:
        raise EstError(f"{file}: {error}") from error


def _certificate(file: Path) -> x509.Certificate:
    try:
        (der,) = der_blocks(read_bounded(file), "CERTIFICATE", 1 << 20)
        return x509.load_der_x509_certificate(der)
    except (PemError, ValueError) as error:
        raise EstError(f"{file}: {error}; expected this node's certificate, alone") from error
