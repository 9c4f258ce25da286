"""The SQLite file behind a store: made for its owner only, opened, and set aside where it is damaged."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import structlog

log = structlog.get_logger()

#: What ``sqlite3`` raises; the latter where SQLite quotes a damaged schema in a message that is no UTF-8.
DATABASE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: Seconds to wait for somebody who writes to the file; nobody should.
_LOCK_TIMEOUT = 0.5


class Damaged(Exception):
    """The file is no database, or not of this schema; the text says why."""


class Schema(NamedTuple):
    """``create`` makes the missing tables; ``upgrades`` lead from an older version to the present one."""

    version: int
    create: str
    upgrades: Mapping[int, str]

    def put_in_force(self, db: sqlite3.Connection) -> None:
        """Bring a database to this schema. Raises ``Damaged`` for a newer one, and ``sqlite3.Error``."""
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in {0, *self.upgrades, self.version}:
            raise Damaged(f"schema {found} is not {self.version}")
        upgrade = self.upgrades.get(found, "")
        try:
            db.executescript(f"BEGIN; {upgrade} {self.create} PRAGMA user_version={self.version}; COMMIT;")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            raise Damaged(f"its tables are not those of schema {found}: {error}") from error
        if missing := self._columns() - _columns(db):
            raise Damaged(f"its tables lack {', '.join(sorted(missing))}")

    def _columns(self) -> set[str]:
        with closing(sqlite3.connect(":memory:")) as db:
            db.executescript(self.create)
            return _columns(db)


def _columns(db: sqlite3.Connection) -> set[str]:
    """Return the columns of all tables, each as ``table.column type``."""
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {
        f"{name}.{column} {kind}"
        for name in names
        for column, kind in db.execute("SELECT name, type FROM pragma_table_info(?)", (name,))
    }


def text_or_none(data: bytes) -> str | None:
    """Return a TEXT value; ``None`` where it is no UTF-8, so that only this row is unreadable (``text_factory``)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def beside(path: Path) -> tuple[Path, Path]:
    """Return what SQLite keeps beside a database: write-ahead log, and shared memory."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def open_file(path: Path, schema: Schema) -> sqlite3.Connection:
    """Open a file, or make one, for its owner only; a damaged one is set aside.

    Raises ``OSError`` and ``sqlite3.Error``.
    """
    _make_private(path)
    try:
        return _connect(path, schema)
    except Damaged as error:
        _set_aside(path, error)
        _make_private(path)
        return _connect(path, schema)


def in_memory(path: Path, schema: Schema) -> sqlite3.Connection:
    """Return a database in memory with what a file holds, as far as it can be read."""
    for mode in ("mode=ro", "mode=ro&immutable=1"):  # immutable: a read-only file system, where SQLite cannot lock
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        db.text_factory = text_or_none
        try:
            uri = f"{path.absolute().as_uri()}?{mode}"
            with closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_TIMEOUT)) as source:
                source.backup(db)
            schema.put_in_force(db)
        except (*DATABASE_ERRORS, Damaged):
            db.close()
        else:
            return db
    return empty(schema)


def empty(schema: Schema) -> sqlite3.Connection:
    """Return a database in memory without anything in it."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.text_factory = text_or_none
    schema.put_in_force(db)
    return db


def _connect(path: Path, schema: Schema) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT, check_same_thread=False)
    db.text_factory = text_or_none
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA cache_size=-256")  # KiB; it is read once, at start
        if (found := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise Damaged(found)
        schema.put_in_force(db)
    except sqlite3.DatabaseError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF in _DAMAGE:
            raise Damaged(str(error)) from error
        raise
    except UnicodeDecodeError as error:
        db.close()
        raise Damaged(f"its schema is not readable: {error.reason}") from error
    except Damaged:
        db.close()
        raise
    return db


def _make_private(path: Path) -> None:
    """Create the file where it is missing; SQLite gives what it keeps beside it the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    for other in beside(path):
        with suppress(FileNotFoundError):
            other.chmod(0o600)


def _set_aside(path: Path, error: Damaged) -> None:
    """Move a file away with what belongs to it: its write-ahead log must not be taken for that of the next one."""
    aside = path.with_suffix(".unreadable")
    log.error("store_unreadable", file=str(path), why=str(error), set_aside=str(aside))
    for source, target in zip((path, *beside(path)), (aside, *beside(aside)), strict=True):
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            source.rename(target)
