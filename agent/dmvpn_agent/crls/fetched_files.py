"""The files of fetched CRLs, one for each address, and what the server said of them.

A CRL is in ``NAME.crl``, where the reader of CAs and CRLs finds it; NAME depends on the address. ``.NAME.json``,
which that reader skips, has what a conditional request needs. If the two do not belong together, because the process
was killed between them, the next request is unconditional.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dmvpn_agent.runtime.url import Url
from dmvpn_agent.runtime.whole_file import write_whole
from dmvpn_agent.x509.trust_paths import read_bounded

#: Octets of an entity tag or a date (RFC 9110) that is sent back.
MAX_VALIDATOR = 512
_MAX_NOTE = 8192


@dataclass(frozen=True, slots=True)
class Validators:
    """What the server said of a CRL, to be sent back: ``ETag`` and ``Last-Modified``; empty if it said none."""

    etag: str = ""
    last_modified: str = ""


class FetchedFiles:
    """A directory in the state directory, created when needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file_of(self, url: Url) -> Path:
        """Return the file with the CRL of an address."""
        return self._directory / f"{_name(url)}.crl"

    def read(self, url: Url) -> tuple[bytes, Validators]:
        """Return the CRL of an address and its validators; nothing if it cannot be read."""
        try:
            data = read_bounded(self.file_of(url))
        except OSError:
            return b"", Validators()
        try:
            with self._note_of(url).open("rb") as file:
                note = json.loads(file.read(_MAX_NOTE))
            if note["url"] == str(url) and note["sha256"] == _digest(data):
                return data, Validators(str(note["etag"])[:MAX_VALIDATOR], str(note["last_modified"])[:MAX_VALIDATOR])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        return data, Validators()

    def keep(self, url: Url, data: bytes, validators: Validators) -> None:
        """Keep a CRL in place of the former one of the address. Raises ``OSError``; then the former one is kept."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self.file_of(url), data)
        note = {
            "url": str(url),
            "sha256": _digest(data),
            "etag": validators.etag,
            "last_modified": validators.last_modified,
        }
        write_whole(self._note_of(url), json.dumps(note).encode())

    def _note_of(self, url: Url) -> Path:
        return self._directory / f".{_name(url)}.json"


def _name(url: Url) -> str:
    return _digest(str(url).encode())[:32]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
