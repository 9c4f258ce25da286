"""What the CA has issued before the lab started (``dmvpn_lab.ca``): files in a folder, in the order of their use."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

#: The folders of what is prepared: the CA's registry with what it has issued, and the files of each node.
CA, FILES = "ca", "files"
_BLOCK = re.compile(rb"-----BEGIN .*?-----END [A-Z ]+-----\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a CA gives a node: a certificate and its key, and the CA's own certificate, all PEM."""

    certificate: bytes
    key: bytes
    ca_certificate: bytes

    @property
    def bundle(self) -> bytes:
        """All of it, as ``dmvpn-agent ca node add --pem`` writes it."""
        return self.key + self.certificate + self.ca_certificate


class Issued:
    """Hands out the issued certificates, to each node its next one, and the next CRL."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: Counter[str] = Counter()

    def credentials(self, name: str) -> Credentials:
        """A node's next certificate: the first one, then what it is renewed by."""
        key, certificate, ca_certificate = _BLOCK.findall(self._next(f"{name}.{{}}.pem"))
        return Credentials(certificate, key, ca_certificate)

    def crl(self) -> bytes:
        """The next CRL (DER): the first one, then one for each revocation, or its end."""
        return self._next("{}.crl")

    def put_credentials(self, name: str, bundle: bytes) -> None:
        """Add a certificate of a node."""
        self._put(f"{name}.{{}}.pem", bundle)

    def put_crl(self, crl: bytes) -> None:
        """Add a CRL."""
        self._put("{}.crl", crl)

    def _next(self, name: str) -> bytes:
        return self._file(name).read_bytes()

    def _put(self, name: str, content: bytes) -> None:
        self._file(name).write_bytes(content)

    def _file(self, name: str) -> Path:
        number = self._taken[name]
        self._taken[name] += 1
        return self._folder / name.format(number)
