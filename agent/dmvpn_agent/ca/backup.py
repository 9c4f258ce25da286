"""A registry as one file, from which either kind of database can be restored; the keys in it stay encrypted.

The file is JSON lines, compressed: a header, then one line for each row, with the name of its table. gzip's checksum
shows damage, and the header's counts show what is missing.
"""

import gzip
import io
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, delete, func, insert, select, text
from sqlalchemy.types import TypeEngine

from dmvpn_agent.ca import schema
from dmvpn_agent.ca.audit import record
from dmvpn_agent.ca.database import Database
from dmvpn_agent.ca.errors import CaError

MAX_BACKUP_BYTES = 1 << 28
_FORMAT = "dmvpn-agent ca backup"
_ROWS_AT_ONCE = 500


def backup(database: Database) -> bytes:
    """Return a registry as a file. Raises ``CaError``."""
    with database.reading() as connection:
        counts = {table.name: _count(connection, table) for table in _tables()}
        lines = (json.dumps(line) for line in _lines(connection, counts))
        return gzip.compress("\n".join(lines).encode(), 6)


def restore(database: Database, data: bytes) -> dict[str, int]:
    """Make a registry from such a file, and return how many rows each table got. Raises ``CaError``."""
    counts, rows = _read(data)
    with database.creating() as connection:
        for table in _tables():
            _insert(connection, table, [row for name, row in rows if name == table.name])
        if {table.name: _count(connection, table) for table in _tables()} != counts:
            raise CaError("the backup is not complete: rows are missing", "take another one; nothing was restored")
        connection.execute(delete(schema.token))  # they may have been used since
        record(connection, "restore", f"{sum(counts.values())} rows")
    return counts


def _tables() -> list[Table]:
    return list(schema.metadata.sorted_tables)


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _lines(connection: Connection, counts: dict[str, int]) -> Iterator[object]:
    yield {"format": _FORMAT, "revision": schema.REVISION, "rows": counts}
    for table in _tables():
        for row in connection.execute(select(table)).mappings():
            yield [table.name, {name: _written(value) for name, value in row.items()}]


def _written(value: object) -> object:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else value


def _read(data: bytes) -> tuple[dict[str, int], list[tuple[str, dict[str, Any]]]]:
    damaged = CaError(
        "the file is no backup of a registry, or it is damaged", "take another one; nothing was restored"
    )
    try:
        with gzip.open(io.BytesIO(data)) as file:
            header, *rows = [json.loads(line) for line in file.read(MAX_BACKUP_BYTES).split(b"\n")]
        if header["format"] != _FORMAT:
            raise damaged
        revision, counts = str(header["revision"]), dict(header["rows"])
        if revision != schema.REVISION:
            raise CaError(f"the backup is of version {revision}, and this program's is {schema.REVISION}",
                          "restore it with the version that made it, then run `dmvpn-agent ca upgrade`")  # fmt: skip
        return counts, [(name, _values(schema.metadata.tables[name], row)) for name, row in rows]
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise damaged from error


def _values(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row's values as the columns take them."""
    return {column.name: _value(column.type, row[column.name]) for column in table.columns}


def _value(kind: TypeEngine[Any], value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, LargeBinary):
        return b64decode(value)
    return datetime.fromisoformat(value) if isinstance(kind, schema.Utc) else value


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        connection.execute(insert(table), rows[at : at + _ROWS_AT_ONCE])
    if connection.dialect.name == "postgresql" and rows and "id" in table.columns:
        sequence = "SELECT setval(pg_get_serial_sequence(:name, 'id'), (SELECT max(id) FROM {}))"
        connection.execute(text(sequence.format(table.name)), {"name": table.name})
