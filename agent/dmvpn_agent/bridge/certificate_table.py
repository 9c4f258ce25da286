"""The certificates by IKE_SA, as the bridge stores them and the agent reads them."""

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import structlog

from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.sqlite_file import Row, StoreUnreadable, Table, read_file
from dmvpn_agent.runtime.store import Store
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

log = structlog.get_logger()


_Pair = tuple[bytes, bytes]


def _row(spis: str, pair: _Pair) -> Row:
    return spis, *pair


def _pair(row: Row) -> tuple[str, _Pair]:
    spis, local, remote = row
    if isinstance(spis, str) and isinstance(local, bytes) and isinstance(remote, bytes):
        return spis, (_shared(local), remote)
    raise ValueError("its values have other types")


@lru_cache(maxsize=8)
def _shared(local: bytes) -> bytes:
    """Return one copy of this node's own certificate for all IKE_SAs."""
    return local


class CertificateTable:
    """The certificates that an IKE_SA was authenticated with, by its SPIs."""

    #: The key is ``IkeSa.spis``; the certificates are DER, both empty if the bridge did not find them.
    TABLE = Table(
        "certificates",
        {"spis": str, "local": bytes, "remote": bytes},
        ItemSource.STORED_CERTIFICATE,
        _row,
        _pair,
    )

    def __init__(self, store: Store[str, _Pair]) -> None:
        self._store = store

    def load(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield SPIs, local and remote certificate of all IKE_SAs."""
        return ((spis, *pair) for spis, pair in self._store.load())

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        """Keep an IKE_SA's certificates."""
        self._store.save(spis, (local, remote))

    def remove(self, spis: str) -> None:
        """Forget an IKE_SA; it need not be there."""
        self._store.remove(spis)


class CertificateFile:
    """The bridge's file, as the agent reads it. Without a bridge there is no file, and no certificate."""

    def __init__(self, path: Path, telemetry: Telemetry | None = None) -> None:
        self._path = path
        self._unreadable = Unreadable(telemetry or Telemetry())
        self._trouble = Trouble()

    def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        """Return the peers' certificates (DER) of these IKE_SAs, as far as the file has them. Never raises."""
        try:
            if not self._path.exists():
                return {}
            rows = read_file(self._path, CertificateTable.TABLE, self._unreadable, spis)
        except (OSError, StoreUnreadable) as error:
            if self._trouble.is_new(error):
                log.warning("bridge_certificates_unreadable", file=str(self._path), why=self._trouble.text,
                            consequence="without an answer of the bridge no new peer is accepted")  # fmt: skip
            return {}
        self._trouble.over()
        return {key: row[2] for key, row in rows.items() if isinstance(row[2], bytes)}
