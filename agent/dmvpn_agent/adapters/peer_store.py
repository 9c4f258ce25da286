"""The accepted peers' binding requests in SQLite, so that a restarted agent knows them."""

import sqlite3
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog

from dmvpn_agent.core.model import Address, BindingRequest, BindingType, Certificate
from dmvpn_agent.wire.certificate import read_certificate

log = structlog.get_logger()

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
    """One row an accepted peer. Usable between ``open`` and ``close``.

    Writing does not raise: a full disk costs the memory of a restart, which the agent can do without, no decision.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or create the file. Raises ``OSError`` that names it."""
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise OSError(
                f"{self._path}: {error}; expected a database in a directory that exists and is writable"
                " (a broken file may be removed: peers keep what they have until they have registered again)"
            ) from error

    def close(self) -> None:
        """Close the file; it need not be open."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def load(self) -> Iterator[BindingRequest]:
        """Return all that was saved; what cannot be read any more is left out."""
        for interface, kind, address, nbma, der in self._execute(
            "SELECT interface, binding_type, protocol_address, nbma_address, certificate FROM peers"
        ):
            try:
                yield BindingRequest(
                    interface, BindingType(kind), ip_address(address), ip_address(nbma), read_certificate(der)
                )
            except (ValueError, TypeError) as error:
                log.warning("peer_store_row_unreadable", protocol_address=str(address), why=str(error))

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one; one without certificate cannot be accepted."""
        if isinstance(request.certificate, Certificate):
            self._execute(
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
        self._execute("DELETE FROM peers WHERE protocol_address = ?", (str(address),))

    def _execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        assert self._db is not None  # noqa: S101  it is open
        try:
            return self._db.execute(statement, tuple(values)).fetchall()
        except sqlite3.Error as error:
            log.error("peer_store_failed", path=str(self._path), why=str(error))
            return []
