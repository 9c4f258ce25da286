"""The certificates that the bridge keeps by IKE_SA, read from its file while it works."""

import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path

import structlog

from dmvpn_agent.adapters.store import Store, StoreUnreadable

log = structlog.get_logger()

#: SQLite takes so many values in one query.
CHUNK = 500


class BridgeCertificates:
    """The bridge's file; without a bridge there is none, and nothing is found in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trouble: str | None = None

    def load(self, spis: Collection[str]) -> Mapping[str, bytes]:
        """Return the peers' certificates (DER) of these IKE_SAs, as far as the bridge knows them."""
        if not self._path.exists():
            return {}
        store = Store(self._path)
        try:
            store.open_to_read()
            found = self._read(store.db, list(spis))
        except (StoreUnreadable, sqlite3.Error) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("bridge_certificates_unreadable", file=str(self._path), why=self._trouble,
                            consequence="large and renewed certificates are not seen")  # fmt: skip
            return {}
        finally:
            store.close()
        self._trouble = None
        return found

    def _read(self, db: sqlite3.Connection, spis: list[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(spis), CHUNK):
            part = spis[start : start + CHUNK]
            marks = ", ".join("?" * len(part))
            query = f"SELECT spis, remote FROM certificates WHERE spis IN ({marks})"  # noqa: S608  question marks
            found |= dict(db.execute(query, part).fetchall())
        return found
