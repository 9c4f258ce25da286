"""The registry's tables, the same in SQLite and PostgreSQL. ``migrations`` creates and changes them.

The database itself refuses blocks that overlap: SQLite by a trigger, PostgreSQL by an exclusion constraint.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

from dmvpn_agent.ca.block import POSITION_DIGITS

#: The last migration; ``database`` compares it with what the database has.
REVISION = "0002"


class Position(TypeDecorator[int]):
    """A position on the line of blocks: too large for an INTEGER, so hexadecimal of fixed length in SQLite."""

    impl = String(POSITION_DIGITS)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type."""
        numeric = dialect.name == "postgresql"
        return dialect.type_descriptor(Numeric(40, 0) if numeric else String(POSITION_DIGITS))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Decimal | str | None:
        """Return what is stored."""
        if value is None:
            return None
        return Decimal(value) if dialect.name == "postgresql" else f"{value:0{POSITION_DIGITS}x}"

    def process_result_value(self, value: Decimal | str | None, _: Dialect) -> int | None:
        """Return the position."""
        return int(value, 16) if isinstance(value, str) else None if value is None else int(value)


class Utc(TypeDecorator[datetime]):
    """A time of day, aware, UTC; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, _: Dialect) -> datetime | None:
        """Return the time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_NAMES = {"ix": "ix_%(column_0_label)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
          "fk": "fk_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}  # fmt: skip
metadata = MetaData(naming_convention=_NAMES)

#: One row: ``settings.Settings`` as JSON.
settings = Table("settings", metadata, Column("id", Integer, primary_key=True), Column("value", Text, nullable=False))

#: ``key`` is PKCS #8 in PEM, encrypted; without it the CA's key is kept elsewhere, and it signs nothing here.
authority = Table(
    "authority", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("key", Text),
    Column("crl_number", BigInteger, nullable=False, default=0),
)  # fmt: skip

#: The CRLs that were made: the numbers of a CA only rise, and none is given twice.
crl = Table(
    "crl", metadata,
    Column("authority_id", Integer, ForeignKey("authority.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("this_update", Utc, nullable=False),
    Column("next_update", Utc, nullable=False),
    Column("der", LargeBinary, nullable=False),
    PrimaryKeyConstraint("authority_id", "number"),
)  # fmt: skip

#: A site, or all hubs. Names are never given twice: certificates contain them.
site = Table(
    "site", metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("is_hubs", Boolean(create_constraint=False), nullable=False),
    Column("as_number", BigInteger, nullable=False),
    Column("next_node", Integer, nullable=False, default=1),
    Column("removed_at", Utc),
)  # fmt: skip

#: A router of a site, or a hub. ``as_number``: only if it differs from the site's; ``common_name``: from its name.
node = Table(
    "node", metadata,
    Column("id", Integer, primary_key=True),
    Column("site_id", Integer, ForeignKey("site.id"), nullable=False, index=True),
    Column("name", String(32), nullable=False, unique=True),
    Column("common_name", String(64)),
    Column("as_number", BigInteger),
    Column("removed_at", Utc),
)  # fmt: skip

#: What may be handed out.
pool = Table(
    "pool", metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(64), nullable=False),
    Column("low", Position, nullable=False, unique=True),
    Column("high", Position, nullable=False),
)  # fmt: skip

#: What is handed out: to a site, to a node, or reserved (as the tunnel networks are among the prefixes).
holding = Table(
    "holding", metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(64), nullable=False),
    Column("low", Position, nullable=False, unique=True),
    Column("high", Position, nullable=False),
    Column("site_id", Integer, ForeignKey("site.id"), index=True),
    Column("node_id", Integer, ForeignKey("node.id"), index=True),
    Column("note", String(64)),
)  # fmt: skip

#: Every certificate that was signed. ``serial`` is hexadecimal. ``reason``: a name of RFC 5280's CRLReason.
certificate = Table(
    "certificate", metadata,
    Column("id", Integer, primary_key=True),
    Column("authority_id", Integer, ForeignKey("authority.id"), nullable=False),
    Column("serial", String(40), nullable=False),
    Column("node_id", Integer, ForeignKey("node.id"), index=True),
    Column("subject", Text, nullable=False),
    Column("not_before", Utc, nullable=False),
    Column("not_after", Utc, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Column("revoked_at", Utc, index=True),
    Column("reason", String(32)),
    UniqueConstraint("authority_id", "serial"),
)  # fmt: skip

#: What a node enrols with, once. ``digest``: SHA-256 of the token. ``key``: SHA-256 of the public key (DER) that the
#: token was used for, and ``certificate_id`` what it brought.
token = Table(
    "token", metadata,
    Column("id", Integer, primary_key=True),
    Column("node_id", Integer, ForeignKey("node.id"), nullable=False, index=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("expires_at", Utc, nullable=False),
    Column("used_at", Utc),
    Column("key", String(64)),
    Column("certificate_id", Integer, ForeignKey("certificate.id")),
)  # fmt: skip

#: Keys of the CA's own server, encrypted as the CA's, and their certificates.
service = Table(
    "service", metadata,
    Column("name", String(16), nullable=False, primary_key=True),
    Column("key", Text, nullable=False),
    Column("certificate_id", Integer, ForeignKey("certificate.id"), nullable=False),
)  # fmt: skip

#: Who did what.
audit = Table(
    "audit", metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("operator", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("detail", Text, nullable=False),
)  # fmt: skip
