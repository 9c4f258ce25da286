"""What survives a restart, in SQLite: the accepted peers, and the certificates by IKE_SA.

Each process has a file of its own in the state directory, for its owner only. It is a memory, not a record: a file
that cannot be read is set aside, and what it held is asked for again.
"""

import sqlite3
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import structlog

from dmvpn_agent.core.model import Address, BindingRequest, BindingType, Certificate
from dmvpn_agent.wire.certificate import read_certificate

log = structlog.get_logger()

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS peers (
    protocol_address TEXT PRIMARY KEY,
    interface TEXT NOT NULL,
    binding_type TEXT NOT NULL,
    nbma_address TEXT NOT NULL,
    certificate BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS certificates (
    spis TEXT PRIMARY KEY,
    local BLOB NOT NULL,
    remote BLOB NOT NULL
);
"""


class Store:
    """One SQLite file, usable between ``open`` and ``close``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """Return the open database. Raises ``RuntimeError`` where it is not open: a programming error."""
        if self._db is None:
            raise RuntimeError(f"{self._path} is not open")
        return self._db

    def open(self) -> None:
        """Open or create the file. Raises ``OSError`` where the directory cannot be written."""
        self._path.touch(mode=0o600)  # says which path, and why not, better than SQLite does
        try:
            self._db = self._connect()
        except sqlite3.DatabaseError as error:
            aside = self._path.with_suffix(".unreadable")
            log.error("store_unreadable", file=str(self._path), why=str(error), set_aside=str(aside))
            self._path.replace(aside)
            self._path.touch(mode=0o600)
            self._db = self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, SCHEMA_VERSION}:
                raise sqlite3.DatabaseError(f"schema {version} is not {SCHEMA_VERSION}")
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def write(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        """Change a row. A full disk or a locked file is logged: it costs what a restart would have known, no more."""
        try:
            self.db.execute(statement, values)
        except sqlite3.Error as error:
            log.error("store_not_written", file=str(self._path), why=str(error))

    def close(self) -> None:
        """Close the file; closing twice is nothing."""
        if self._db is not None:
            self._db.close()
            self._db = None


class PeerTable:
    """The binding requests of accepted peers, by protocol address."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> Iterator[BindingRequest]:
        """Return all that was saved; a row that is no request any more is left out."""
        rows = self._store.db.execute(
            "SELECT interface, binding_type, protocol_address, nbma_address, certificate FROM peers"
        )
        for interface, kind, address, nbma, der in rows.fetchall():
            try:
                yield BindingRequest(
                    interface, BindingType(kind), ip_address(address), ip_address(nbma), read_certificate(der)
                )
            except ValueError as error:
                log.warning("stored_peer_unreadable", protocol_address=address, why=str(error))

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one; one without certificate is never an accepted one."""
        if isinstance(request.certificate, Certificate):
            self._store.write(
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
        self._store.write("DELETE FROM peers WHERE protocol_address = ?", (str(address),))


class CertificateTable:
    """The certificates that an IKE_SA was authenticated with, by its SPIs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Return SPIs, local and remote certificate of all IKE_SAs."""
        yield from self._store.db.execute("SELECT spis, local, remote FROM certificates").fetchall()

    def save(self, spis: str, local: bytes, remote: bytes) -> None:
        """Keep an IKE_SA's certificates."""
        self._store.write("REPLACE INTO certificates (spis, local, remote) VALUES (?, ?, ?)", (spis, local, remote))

    def remove(self, spis: str) -> None:
        """Forget an IKE_SA; it need not be there."""
        self._store.write("DELETE FROM certificates WHERE spis = ?", (spis,))
