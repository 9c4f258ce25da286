"""The registry's database: a SQLite file, or PostgreSQL by its URL.

A transaction that writes has the database's lock from its beginning, so no two of them interleave: SQLite's own lock,
in PostgreSQL an advisory one. The tables' constraints refuse what they must never contain.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from dmvpn_agent.ca.errors import CaError
from dmvpn_agent.ca.schema import REVISION
from dmvpn_agent.runtime.owner_rights import Owner, owner_of, rights_of, user_name

#: Seconds to wait for another process that writes.
LOCK_TIMEOUT = 30
#: The number of the lock in PostgreSQL; any number that no other program takes in this database.
_ADVISORY_LOCK = 0x646D7670
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Opens transactions. Nothing is opened before the first one."""

    def __init__(self, place: str) -> None:
        """``place``: a file, or a URL of SQLAlchemy. Raises ``CaError`` for a URL that cannot be used."""
        url = _parsed(place) if "://" in place else URL.create("sqlite", database=place)
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self.file = Path(url.database or "") if self._is_sqlite else None
        self._shown = str(self.file) if self.file else url.render_as_string(hide_password=True)
        self._engine = _engine(url, self._is_sqlite)

    def __str__(self) -> str:
        return self._shown

    @property
    def owner(self) -> Owner | None:
        """Return whose file the registry is, if that is not root: the server's user, say."""
        return owner_of(self.file) if self.file is not None else None

    @contextmanager
    def rights(self) -> Iterator[None]:
        """Do meanwhile, if this is root, only what the owner of the registry may do. Raises ``CaError``."""
        with ExitStack() as stack:
            try:
                stack.enter_context(rights_of(self.owner))
            except PermissionError as error:
                raise CaError(f"{self}: it belongs to {self.owner}, and this process may not act as that user",
                              f"run the command as {self.owner}; in a unit of systemd: User=") from error  # fmt: skip
            if not os.access(__file__, os.R_OK, effective_ids=True):
                raise CaError(f"{self}: it belongs to {self.owner}, who cannot read this program, in {sys.prefix}",
                              "install it where every user can read it, such as /opt/dmvpn-agent")  # fmt: skip
            yield

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads. Raises ``CaError``."""
        with self._transaction(writes=False) as connection:
            self._check_revision(connection)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end, or rolled back by an exception. Raises ``CaError``."""
        with self._transaction(writes=True) as connection:
            self._check_revision(connection)
            yield connection

    @contextmanager
    def creating(self) -> Iterator[Connection]:
        """As ``writing``, after making the tables; for a new registry. Raises ``CaError`` if there is one."""
        made = self.file is not None and self._make_file()
        try:
            with self._transaction(writes=True) as connection:
                if _revision(connection) is not None:
                    raise CaError(f"{self}: there is a registry already", "name another place with --database")
                _migrate(connection)
                yield connection
        except BaseException:
            if made and self.file is not None:
                self.file.unlink(missing_ok=True)
            raise

    def upgrade(self) -> bool:
        """Bring the tables to this version; return whether anything had to change. Raises ``CaError``."""
        with self._transaction(writes=True) as connection:
            found = _revision(connection)
            if found is None:
                raise self._no_registry()
            if found > REVISION:
                raise self._too_new(found)
            _migrate(connection)
            return found != REVISION

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        if self.file is not None and not self.file.exists():
            raise self._no_registry()
        try:
            with (
                self.rights(),
                self._engine.connect().execution_options(writes=writes) as connection,
                connection.begin(),
            ):
                if writes and not self._is_sqlite:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
                yield connection
        except DBAPIError as error:
            raise CaError(*self._explained(error)) from error
        except SQLAlchemyError as error:
            raise CaError(f"{self}: {_first_line(error)}") from error

    def _check_revision(self, connection: Connection) -> None:
        found = _revision(connection)
        if found is None:
            raise self._no_registry()
        if found < REVISION:
            raise CaError(
                f"{self}: the registry is of an older version", "`dmvpn-agent ca upgrade` brings it to this one"
            )
        if found > REVISION:
            raise self._too_new(found)

    def _no_registry(self) -> CaError:
        return CaError(f"{self}: there is no registry", "`dmvpn-agent ca init` makes one; --database names its place")

    def _too_new(self, found: str) -> CaError:
        return CaError(f"{self}: its tables are of version {found}, which is later than this program's, {REVISION}",
                       "install the version of dmvpn-agent that made them")  # fmt: skip

    def _make_file(self) -> bool:
        """Create the file, for its owner only; return whether it is new. Raises ``CaError``."""
        assert self.file is not None  # noqa: S101
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.rights():
                os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        except OSError as error:
            do = f"the registry needs a directory that {self._user} may write to; --database names another"
            raise CaError(f"{self.file}: {error.strerror}", do) from error
        return True

    def _explained(self, error: DBAPIError) -> tuple[str, str]:
        why = _first_line(error.orig)
        hints = _SQLITE_HINTS if self._is_sqlite else _POSTGRESQL_HINTS
        do = next((do for words, do in hints.items() if words in why), "nothing was changed")
        return f"{self}: {why}", do.format(user=self._user, file=self)

    @property
    def _user(self) -> str:
        """Return with whose rights the registry is opened."""
        return str(self.owner) if self.owner is not None and os.geteuid() == 0 else user_name()


_POSTGRESQL_HINTS = {
    "lock timeout": f"nothing was changed: another operator has been writing for {LOCK_TIMEOUT} s; repeat it",
    "connect": "check that PostgreSQL runs there, and your name and password (~/.pgpass)",
    "authentication": "check your name and password (~/.pgpass)",
    "permission denied": "nothing was changed; only the owner of the database can create and change the registry",
    "read-only": "nothing was changed; name the server that may be written to",
}
_CHOWN = " a copy that root has put in place needs `chown {user}: {file}`"
_SQLITE_HINTS = {
    "disk is full": "nothing was changed; make room, and repeat the command",
    "readonly": "nothing was changed; the file and its folder must be writable for {user}:" + _CHOWN,
    "unable to open": "nothing was changed; the file must be readable, and its folder writable, for {user}:" + _CHOWN,
    "locked": f"nothing was changed: another command has been writing for {LOCK_TIMEOUT} s; repeat it later",
    "malformed": "restore a backup by `dmvpn-agent ca restore`",
    "not a database": "name the registry by --database, or restore a backup by `dmvpn-agent ca restore`",
}


def _first_line(error: BaseException | None) -> str:
    """Return what is wrong; further lines show the values that were written."""
    return str(error).strip().split("\n", maxsplit=1)[0]


def _parsed(place: str) -> URL:
    try:
        url = make_url(place)
        if url.get_backend_name() == "postgresql" and url.drivername == "postgresql":
            return url.set(drivername="postgresql+psycopg")
    except ArgumentError as error:
        raise CaError(f"not a URL of a database: {error}",
                      "write postgresql://USER@HOST/NAME, or the name of a file") from error  # fmt: skip
    return url


def _engine(url: URL, is_sqlite: bool) -> Engine:
    try:
        engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT} if is_sqlite else {})
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        do = "install psycopg (pip: dmvpn-agent[postgresql]; Debian: python3-psycopg; Alpine: py3-psycopg)"
        raise CaError(f"no driver for {url.drivername} is installed: {error}", do) from error
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, and not by Python's module
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    """Return which migration was the last one; ``None`` without tables."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  takes as long to import as everything else together
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, REVISION)
