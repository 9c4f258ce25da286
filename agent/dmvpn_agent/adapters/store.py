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
from dmvpn_agent.wire.label import ike_peer

log = structlog.get_logger()

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS peers (
    protocol_address TEXT PRIMARY KEY,
    interface TEXT NOT NULL,
    binding_type TEXT NOT NULL,
    nbma_address TEXT NOT NULL,
    certificate BLOB NOT NULL,
    ike_identity TEXT NOT NULL DEFAULT '',
    local_nbma_address TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS certificates (
    spis TEXT PRIMARY KEY,
    local BLOB NOT NULL,
    remote BLOB NOT NULL
);
"""

#: What leads from an older schema to the present one.
_UPGRADES = {
    1: """
ALTER TABLE peers ADD COLUMN ike_identity TEXT NOT NULL DEFAULT '';
ALTER TABLE peers ADD COLUMN local_nbma_address TEXT NOT NULL DEFAULT '';
""",
}


class StoreUnreadable(Exception):
    """The file is missing or cannot be read as it is; the text names it and says what to do."""


class Store:
    """One SQLite file, usable between ``open`` or ``open_to_read`` and ``close``."""

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

    def open_to_read(self) -> None:
        """Open the file as it is, also while its process writes to it, to change nothing.

        Raises ``StoreUnreadable``.
        """
        try:
            if not self._path.exists():
                raise StoreUnreadable(f"{self._path} is missing; has the agent run with this state_directory yet?")
            # Whoever has it open keeps a write-ahead log beside it. Without one, SQLite would leave one behind.
            mode = "mode=ro" if self._beside("-wal").exists() else "mode=ro&immutable=1"
            self._db = sqlite3.connect(f"{self._path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StoreUnreadable(f"{self._path}: {error}; is it the agent's, and may you read it?") from error
        if version != SCHEMA_VERSION:
            self.close()
            raise StoreUnreadable(
                f"{self._path} has schema {version}, this program {SCHEMA_VERSION}; start this version of the agent"
                " once, which brings it up to date"
            )

    def delete(self) -> None:
        """Delete the file with what belongs to it; it need not be there. Raises ``OSError``."""
        self.close()
        for path in (self._path, self._beside("-wal"), self._beside("-shm")):
            path.unlink(missing_ok=True)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA cache_size=-256")  # KiB; it is read once, at start
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, *_UPGRADES, SCHEMA_VERSION}:
                raise sqlite3.DatabaseError(f"schema {version} is not {SCHEMA_VERSION}")
            db.executescript(_UPGRADES.get(version, _SCHEMA))
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


_COLUMNS = (
    "protocol_address", "interface", "binding_type", "nbma_address", "certificate", "ike_identity",
    "local_nbma_address",
)  # fmt: skip


def _request(
    address: str, interface: str, kind: str, nbma: str, der: bytes, identity: str, local: str
) -> BindingRequest:
    return BindingRequest(
        interface=interface,
        binding_type=BindingType(kind),
        protocol_address=ip_address(address),
        nbma_address=ip_address(nbma),
        certificate=read_certificate(der) if der else None,
        ike_peers=frozenset({ike_peer(identity, has_certificate=False)} if identity else ()),
        local_nbma_address=ip_address(local) if local else None,
    )


class PeerTable:
    """The binding requests of accepted peers, by protocol address."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> Iterator[BindingRequest]:
        """Return all that was saved; a row that is no request any more is left out. Raises ``StoreUnreadable``."""
        try:
            rows = self._store.db.execute(f"SELECT {', '.join(_COLUMNS)} FROM peers").fetchall()  # noqa: S608  constants
        except sqlite3.Error as error:
            raise StoreUnreadable(f"the stored peers cannot be read: {error}") from error
        for row in rows:
            try:
                yield _request(*row)
            except ValueError as error:
                log.warning("stored_peer_unreadable", protocol_address=row[0], why=str(error))

    def save(self, request: BindingRequest) -> None:
        """Keep a request in place of the address's former one; without certificate, only a pre-shared key's."""
        certificate = request.certificate
        identities = [ike_peer.identity for ike_peer in request.ike_peers if not ike_peer.has_certificate]
        if isinstance(certificate, Certificate) or (certificate is None and len(identities) == 1):
            self._store.write(
                f"REPLACE INTO peers ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  constants
                (
                    str(request.protocol_address),
                    request.interface,
                    str(request.binding_type),
                    str(request.nbma_address),
                    certificate.der if certificate else b"",
                    "" if certificate else identities[0],
                    str(request.local_nbma_address or ""),
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
