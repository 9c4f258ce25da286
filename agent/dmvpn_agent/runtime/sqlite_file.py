"""The SQLite file behind a store: one table, readable by its owner only; a damaged file is set aside.

The file survives the process, not a crash of the operating system (``synchronous=OFF``): no IKE_SA survives that
either. Damage is noticed when the file is opened.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import structlog

from dmvpn_agent.runtime.unreadable import ItemSource, Unreadable

log = structlog.get_logger()

#: What ``sqlite3`` raises; the latter if SQLite quotes a damaged schema in a message that is not UTF-8.
DATABASE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
#: Limits of what is read: rows of a table, characters of a text, octets of a BLOB.
MAX_ROWS, MAX_TEXT, MAX_BLOB = 100_000, 1024, 64 * 1024
#: Keys of one query: SQLite limits them.
CHUNK = 500
#: SQLITE_ERROR: the file has an unknown format, or its schema cannot be parsed.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
#: Seconds to wait for another process that has the file locked.
_LOCK_TIMEOUT = 1.0
#: What SQLite keeps beside a database: the rollback journal; the write-ahead log and its index, if a tool made them.
_BESIDE = ("-journal", "-wal", "-shm")
_SQL_TYPES = {str: "TEXT", bytes: "BLOB"}
#: Errors of one row or key, not of the file: text that is not Unicode, a value of a wrong type or size.
_ROW_ERRORS = (ValueError, TypeError, OverflowError, sqlite3.DataError, sqlite3.IntegrityError,
               sqlite3.InterfaceError, sqlite3.ProgrammingError)  # fmt: skip

#: The values of a row, in the order of the table's columns.
Row = tuple[str | bytes, ...]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def encode_plain(key: str, value: Row) -> Row:
    """Return the row of a table whose values are the columns after the key."""
    return key, *value


def decode_plain(row: Row) -> tuple[str, Row]:
    """Return the key and the columns after it."""
    return str(row[0]), row[1:]


def is_locked(error: Exception) -> bool:
    """Tell whether another process has the file locked."""
    code = error.sqlite_errorcode if isinstance(error, sqlite3.Error) and hasattr(error, "sqlite_errorcode") else 0
    return code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class StoreUnreadable(Exception):
    """A file cannot be read as it is; the text names it and says what to do."""


class Damaged(Exception):
    """The file is not a database, or one of other tables; the text says why."""


class Table(NamedTuple, Generic[K, V]):
    """A table. The first column is the key, as ``str`` prints it; ``source`` names its rows in log and metrics.

    ``encode`` returns the row of a key and its value; ``decode`` the reverse, and raises ``ValueError``.
    """

    name: str
    columns: Mapping[str, type[str] | type[bytes]]
    source: ItemSource
    encode: Callable[[K, V], Row]
    decode: Callable[[Row], tuple[K, V]]

    @property
    def create(self) -> str:
        """Return the statement that creates it, as SQLite keeps it in its schema."""
        key, *others = [f"{name} {_SQL_TYPES[kind]}" for name, kind in self.columns.items()]
        return (
            f"CREATE TABLE {self.name} ({', '.join([f'{key} PRIMARY KEY', *(f'{one} NOT NULL' for one in others)])})"
        )

    @property
    def _key(self) -> str:
        return next(iter(self.columns))

    def clear(self, db: sqlite3.Connection) -> None:
        """Delete all rows."""
        db.execute(f"DELETE FROM {self.name}")  # noqa: S608  constants

    def delete(self, db: sqlite3.Connection, key: str) -> None:
        """Delete a row; it need not be there."""
        with suppress(*_ROW_ERRORS):  # such a key was never written
            db.execute(f"DELETE FROM {self.name} WHERE {self._key} = ?", (key,))  # noqa: S608  constants

    def replace(self, db: sqlite3.Connection, key: K, value: V, unreadable: Unreadable) -> None:
        """Write a row in place of the one with its key, after all others; skip one that cannot be written."""
        try:
            self.write(db, self.encode(key, value))
        except _ROW_ERRORS as error:
            unreadable.skip(self.source, ("written", key), f"{key!r:.100} cannot be written: {error}")

    def write(self, db: sqlite3.Connection, row: Row) -> None:
        """Write a row as it is."""
        marks = ", ".join("?" * len(self.columns))
        db.execute(f"REPLACE INTO {self.name} VALUES ({marks})", row)  # noqa: S608  constants

    def read(
        self, db: sqlite3.Connection, unreadable: Unreadable, keys: Collection[str] | None = None
    ) -> dict[str, Row]:
        """Return all rows, or those with these keys, in the order in which they were written.

        A row that has a value of another type, or one that is too long, is skipped. Raises ``DATABASE_ERRORS``.
        """
        rows: dict[str, Row] = {}
        for number, values in self._select(db, keys):
            try:
                row = self._checked(values)
            except ValueError as error:
                unreadable.skip(self.source, number, f"row {number}: {error}")
            else:
                rows[str(row[0])] = row
        return rows

    def decoded(self, rows: Mapping[str, Row], unreadable: Unreadable) -> Iterator[tuple[K, V]]:
        """Yield the keys and values of rows; an unreadable one is skipped."""
        for name, row in rows.items():
            try:
                yield self.decode(row)
            except ValueError as error:
                unreadable.skip(self.source, name, f"{name!r:.100}: {error}")

    def _select(self, db: sqlite3.Connection, keys: Collection[str] | None) -> Iterator[tuple[int, list[object]]]:
        """Yield each row's number and its values, with ``None`` for a value that is far too long."""
        bounded = ", ".join(
            f"CASE WHEN length(CAST({name} AS BLOB)) <= {2 * MAX_BLOB} THEN {name} END" for name in self.columns
        )
        query = f"SELECT rowid, {bounded} FROM {self.name}"  # noqa: S608  constants
        if keys is None:
            for number, *values in db.execute(f"{query} ORDER BY rowid LIMIT {MAX_ROWS}"):
                yield number, values
            return
        wanted = iter(keys)
        while chunk := tuple(islice(wanted, CHUNK)):
            marks = ", ".join("?" * len(chunk))
            for number, *values in db.execute(f"{query} WHERE {self._key} IN ({marks})", chunk):
                yield number, values

    def _checked(self, values: Iterable[object]) -> Row:
        """Return the values as they must be: SQLite keeps values of any type in any column."""
        row: list[str | bytes] = []
        for (name, kind), value in zip(self.columns.items(), values, strict=True):
            longest = MAX_TEXT if kind is str else MAX_BLOB
            if not isinstance(value, str | bytes) or not isinstance(value, kind) or len(value) > longest:
                raise ValueError(f"{name} is not {_SQL_TYPES[kind]} of at most {longest}")
            row.append(value)
        return tuple(row)


def open_file(path: Path, table: Table[K, V]) -> sqlite3.Connection:
    """Open a file to write, or create it; a damaged one, or one of another schema, is set aside.

    Raises ``OSError`` and ``DATABASE_ERRORS``.
    """
    _make_private(path)
    try:
        _refuse_other_formats(path)
        return _connect(path, table)
    except Damaged as error:
        _set_aside(path, error)
        _make_private(path)
        return _connect(path, table)


def read_file(
    path: Path, table: Table[K, V], unreadable: Unreadable, keys: Collection[str] | None = None
) -> dict[str, Row]:
    """Return the rows of a file that another process may be writing; the file is not changed.

    Raises ``StoreUnreadable``.
    """
    try:
        if not path.exists():
            raise StoreUnreadable(f"{path} is missing; has the agent run with this state_directory yet?")
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_TIMEOUT)) as db:
            db.text_factory = _text_or_none
            _check_schema(db, table)
            return table.read(db, unreadable, keys)
    except Damaged as error:
        raise StoreUnreadable(
            f"{path}: {error}; start this version of the agent once, it makes a new file"
        ) from error
    except (OSError, *DATABASE_ERRORS) as error:
        raise StoreUnreadable(f"{path}: {error}; is it the agent's file, and may you read it?") from error


def delete_file(path: Path) -> None:
    """Delete a file with what SQLite keeps beside it; it need not be there. Raises ``OSError``."""
    for one in (path, *_beside(path)):
        one.unlink(missing_ok=True)


def _refuse_other_formats(path: Path) -> None:
    """Raise ``Damaged`` if SQLite would only read the file: for a write version over 2 in its header."""
    with path.open("rb") as file:
        head = file.read(19)
    if len(head) == 19 and head[18] > 2:
        raise Damaged(f"its write version is {head[18]}, and SQLite knows 1 and 2")


def _connect(path: Path, table: Table[K, V]) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_LOCK_TIMEOUT, check_same_thread=False)
    db.text_factory = _text_or_none
    try:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-256")  # KiB; the rows are in the store's memory
        if (found := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise Damaged(found)
        if not _schema(db):
            db.execute(table.create)
        _check_schema(db, table)
    except sqlite3.DatabaseError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF in _DAMAGE:
            raise Damaged(str(error)) from error
        raise
    except UnicodeDecodeError as error:
        db.close()
        raise Damaged(f"its schema is not text: {error.reason}") from error
    except Damaged:
        db.close()
        raise
    return db


def _schema(db: sqlite3.Connection) -> list[str | None]:
    return [sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_autoindex_%'")]


def _check_schema(db: sqlite3.Connection, table: Table[K, V]) -> None:
    if _schema(db) != [table.create]:
        raise Damaged("its schema is not that of this version")


def _text_or_none(data: bytes) -> str | None:
    """Return a TEXT value, ``None`` if it is not UTF-8, so that only its row is unreadable (``text_factory``)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _BESIDE]


def _make_private(path: Path) -> None:
    """Create the file if it is missing; SQLite gives its journal the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _set_aside(path: Path, error: Damaged) -> None:
    """Move a file away with its journal, which SQLite would take for that of the next file."""
    aside = path.with_suffix(".unreadable")
    log.error("store_unreadable", file=str(path), why=str(error), set_aside=str(aside))
    for source, target in zip((path, *_beside(path)), (aside, *_beside(aside)), strict=True):
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            source.rename(target)
