"""The certificates by IKE_SA, as the bridge stores them and the agent reads them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from dmvpn_agent.runtime.backoff import Trouble
from dmvpn_agent.runtime.sqlite_file import DATABASE_ERRORS
from dmvpn_agent.runtime.store import Rows, Store, StoreUnreadable, _blob, _rows, _text
from dmvpn_agent.runtime.telemetry import Telemetry
from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

log = structlog.get_logger()


class CertificateTable:
    """The certificates that an IKE_SA was authenticated with, by its SPIs."""

    def __init__(self, store: Rows, unreadable: Unreadable | None = None) -> None:
        self._store = store
        self._unreadable = unreadable or Unreadable(Telemetry())

    def load(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield SPIs, local and remote certificate of all IKE_SAs, as far as they can be read."""
        try:
            for number, (spis, local, remote) in _rows(self._store.db, "certificates", ("spis", "local", "remote")):
                try:
                    yield _text(spis), _blob(local), _blob(remote)
                except ValueError as error:
                    self._unreadable.skip(ItemSource.STORED_CERTIFICATE, number, f"row {number}: {error}")
        except DATABASE_ERRORS as error:
            log.error("stored_certificates_unreadable", why=str(error))

    def remote(self, spis: Sequence[str]) -> dict[str, bytes]:
        """Return the remote certificate of those of these IKE_SAs that are stored. Raises ``sqlite3.Error``."""
        marks = ", ".join("?" * len(spis))
        query = f"SELECT spis, remote FROM certificates WHERE spis IN ({marks})"  # noqa: S608  question marks
        found = {}
        for key, remote in self._store.db.execute(query, spis):
            try:
                found[_text(key)] = _blob(remote)
            except ValueError as error:
                self._unreadable.skip(ItemSource.STORED_CERTIFICATE, key, str(error))
        return found

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        """Keep an IKE_SA's certificates."""
        self._store.write("REPLACE INTO certificates (spis, local, remote) VALUES (?, ?, ?)", (spis, local, remote))

    def remove(self, spis: str) -> None:
        """Forget an IKE_SA; it need not be there."""
        self._store.write("DELETE FROM certificates WHERE spis = ?", (spis,))


log = structlog.get_logger()


#: SQLite takes so many values in one query.
CHUNK = 500


class BridgeCertificates:
    """The bridge's file; without a bridge there is none, and nothing is found in it."""

    def __init__(self, path: Path, telemetry: Telemetry | None = None) -> None:
        self._path = path
        self._unreadable = Unreadable(telemetry or Telemetry())
        self._trouble = Trouble()

    def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        """Return the peers' certificates (DER) of these IKE_SAs, as far as the bridge knows them."""
        if not self._path.exists():
            return {}
        store = Store(self._path)
        try:
            store.open_to_read()
            wanted, table = list(spis), CertificateTable(store, self._unreadable)
            found: dict[str, bytes] = {}
            for start in range(0, len(wanted), CHUNK):
                found |= table.remote(wanted[start : start + CHUNK])
        except (StoreUnreadable, *DATABASE_ERRORS) as error:
            if self._trouble.is_new(error):
                log.warning("bridge_certificates_unreadable", file=str(self._path), why=self._trouble.text,
                            consequence="large and renewed certificates are not seen")  # fmt: skip
            return {}
        finally:
            store.close()
        self._trouble.over()
        return found
