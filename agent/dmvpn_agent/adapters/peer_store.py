"""The accepted peers' binding requests in SQLite, so that a restarted agent knows them."""

import sqlite3
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from dmvpn_agent.core.model import Address, BindingRequest, BindingType, Certificate
from dmvpn_agent.wire.certificate import read_certificate

_SCHEMA = """
CREATE TABLE IF NOT EXISTS peers (
    protocol_address TEXT PRIMARY KEY,
    interface TEXT NOT NULL,
    binding_type TEXT NOT NULL,
    nbma_address TEXT NOT NULL,
    certificate BLOB NOT NULL
)
"""


class PeerTable:
    """One row an accepted peer. Usable between ``open`` and ``close``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection

    def open(self) -> None:
        """Open or create the file. Raises ``OSError`` or ``sqlite3.Error``."""
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def load(self) -> Iterator[BindingRequest]:
        """Return all that was saved."""
        rows = self._db.execute(
            "SELECT interface, binding_type, protocol_address, nbma_address, certificate FROM peers"
        )
        for interface, kind, address, nbma, der in rows.fetchall():
            yield BindingRequest(
                interface, BindingType(kind), ip_address(address), ip_address(nbma), read_certificate(der)
            )

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one; one without certificate cannot be accepted."""
        if isinstance(request.certificate, Certificate):
            self._db.execute(
                "REPLACE INTO peers (protocol_address, interface, binding_type, nbma_address, certificate)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    str(request.protocol_address),
                    request.interface,
                    str(request.binding_type),
                    str(request.nbma_address),
                    request.certificate.der,
                ),
            )

    def remove(self, address: Address) -> None:
        """Forget an address; it need not be there."""
        self._db.execute("DELETE FROM peers WHERE protocol_address = ?", (str(address),))
