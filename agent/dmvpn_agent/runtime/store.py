"""What survives a restart, in SQLite: the accepted peers, and the certificates by IKE_SA.

Each process has a file of its own in the state directory, for its owner only. It is a memory, not a record: a file
that cannot be read is set aside, and what it held is asked for again. Where the file cannot be written, the process
goes on with a copy in memory, and writes it back as soon as it can.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Protocol

import structlog

from dmvpn_agent.runtime.sqlite_file import DATABASE_ERRORS, Schema, beside, empty, in_memory, open_file, text_or_none

log = structlog.get_logger()


SCHEMA_VERSION = 2


_SCHEMA = Schema(
    SCHEMA_VERSION,
    """
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
""",
    {
        1: """
ALTER TABLE peers ADD COLUMN ike_identity TEXT NOT NULL DEFAULT '';
ALTER TABLE peers ADD COLUMN local_nbma_address TEXT NOT NULL DEFAULT '';
""",
    },
)


#: Rows that are read of one table: as many peers no node has.
MAX_ROWS = 100_000


#: Octets of a certificate in a row (``x509.certificate_reader``).
MAX_CERTIFICATE_BYTES = 64 * 1024
#: Characters of a text in a row: an IKE identity has 511 at most.
MAX_TEXT = 1024


#: Seconds between two attempts to write to a file again that could not be written.
WRITE_BACK_INTERVAL = 60.0


class Store:
    """One SQLite file, usable between ``open`` or ``open_to_read`` and ``close``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._in_memory_since: float | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """Return the open database. Raises ``RuntimeError`` where it is not open: a programming error."""
        if self._db is None:
            raise RuntimeError(f"{self._path} is not open")
        return self._db

    @property
    def survives(self) -> bool:
        """Tell whether what is written now survives a restart."""
        return self._db is not None and self._in_memory_since is None

    def open(self) -> None:
        """Open or create the file; where that does not go, work in memory, and try again later."""
        try:
            self._db = open_file(self._path, _SCHEMA)
        except (OSError, *DATABASE_ERRORS) as error:
            self._go_on_in_memory(error)

    def open_to_read(self) -> None:
        """Open the file as it is, also while its process writes to it, to change nothing.

        Raises ``StoreUnreadable``.
        """
        try:
            if not self._path.exists():
                raise StoreUnreadable(f"{self._path} is missing; has the agent run with this state_directory yet?")
            # Whoever has it open keeps a write-ahead log beside it. Without one, SQLite would leave one behind.
            mode = "mode=ro" if beside(self._path)[0].exists() else "mode=ro&immutable=1"
            self._db = sqlite3.connect(f"{self._path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
            self._db.text_factory = text_or_none
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except (OSError, *DATABASE_ERRORS) as error:
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
        self._in_memory_since = None
        self.close()
        for path in (self._path, *beside(self._path)):
            path.unlink(missing_ok=True)

    def write(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        """Change a row; where the file cannot be written, in memory, until it can."""
        if self._in_memory_since is not None and monotonic() - self._in_memory_since >= WRITE_BACK_INTERVAL:
            self.write_back()
        try:
            self.db.execute(statement, values)
        except DATABASE_ERRORS as error:
            self._go_on_in_memory(error)
            try:
                self.db.execute(statement, values)
            except DATABASE_ERRORS:  # the copy has what is wrong with the file
                self.db.close()
                self._db = empty(_SCHEMA)
                self.db.execute(statement, values)

    def close(self) -> None:
        """Close the file; closing twice is nothing."""
        self.write_back()
        if self._db is not None:
            self._db.close()
        self._db, self._in_memory_since = None, None

    def _go_on_in_memory(self, error: Exception) -> None:
        log.error("store_in_memory", file=str(self._path), why=str(error),
                  consequence="a restart knows nothing of what comes from now on",
                  do=f"see whether {self._path.parent} is there and can be written; it is tried again")  # fmt: skip
        copy = in_memory(self._path, _SCHEMA)
        if self._db is not None:
            self._db.close()
        self._db, self._in_memory_since = copy, monotonic()

    def write_back(self) -> None:
        """Have the file hold what is only in memory, if that is possible by now."""
        if self._in_memory_since is None:
            return
        self._in_memory_since = monotonic()
        try:
            db = open_file(self._path, _SCHEMA)
        except (OSError, *DATABASE_ERRORS):
            return
        try:
            self.db.backup(db)
            db.execute("PRAGMA journal_mode=WAL")
        except DATABASE_ERRORS:
            db.close()
            return
        self.db.close()
        self._db, self._in_memory_since = db, None
        log.info("store_on_disk_again", file=str(self._path))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"a column is no text of at most {MAX_TEXT} characters")
    return value


def _blob(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) > MAX_CERTIFICATE_BYTES:
        raise ValueError(f"a certificate is not octets, at most {MAX_CERTIFICATE_BYTES}")
    return value


def _rows(db: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[object]]]:
    """Yield each row's number and its values, a value that is far too long as ``None``. Raises ``sqlite3.Error``."""
    bounded = ", ".join(
        f"CASE WHEN length(CAST({name} AS BLOB)) <= {2 * MAX_CERTIFICATE_BYTES} THEN {name} END" for name in columns
    )
    query = f"SELECT rowid, {bounded} FROM {table} ORDER BY rowid LIMIT {MAX_ROWS}"  # noqa: S608  constants
    for number, *values in db.execute(query):
        yield number, values


class Rows(Protocol):
    """A store, as its tables use it: ``db`` to read, ``write`` to change a row."""

    @property
    def db(self) -> sqlite3.Connection:
        """Return the open database."""

    def write(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        """Change a row."""


class StoreUnreadable(Exception):
    """What is stored cannot be read as it is; the text names the file and says what to do."""
