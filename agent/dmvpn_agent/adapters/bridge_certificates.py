"""The certificates that the bridge keeps by IKE_SA, read from its file while it works."""

from collections.abc import Collection, Mapping
from pathlib import Path

import structlog

from dmvpn_agent.adapters.state_file import DATABASE_ERRORS
from dmvpn_agent.adapters.store import CertificateTable, Store
from dmvpn_agent.service.backoff import Trouble
from dmvpn_agent.service.peers import StoreUnreadable
from dmvpn_agent.service.telemetry import Telemetry
from dmvpn_agent.service.unreadable import Unreadable

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
