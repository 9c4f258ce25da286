"""The registry's first tables."""

import sqlalchemy as sa
from alembic import op

from dmvpn_agent.ca.schema import Position, Utc

revision = "0001"
down_revision = None

_DISJOINT = ("pool", "holding")


def upgrade() -> None:
    """Create the tables, and the rule that blocks do not overlap."""
    _settings_and_keys()
    _sites_and_nodes()
    _blocks()
    op.create_table(
        "certificate",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("authority_id", sa.Integer, sa.ForeignKey("authority.id"), nullable=False),
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("node.id"), index=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("not_before", Utc, nullable=False),
        sa.Column("not_after", Utc, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.Column("revoked_at", Utc, index=True),
        sa.Column("reason", sa.String(32)),
        sa.UniqueConstraint("authority_id", "serial"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", Utc, nullable=False),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    for table in ("site", "node"):
        # Names in certificates are compared without regard to case (RFC 5280, section 7.1).
        op.create_index(f"uq_{table}_lower_name", table, [sa.text("lower(name)")], unique=True)
    for table in _DISJOINT:
        _refuse_overlaps(table)


def _settings_and_keys() -> None:
    op.create_table(
        "settings", sa.Column("id", sa.Integer, primary_key=True), sa.Column("value", sa.Text, nullable=False)
    )
    op.create_table(
        "authority",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(32), nullable=False, unique=True),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("crl_number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "crl",
        sa.Column("authority_id", sa.Integer, sa.ForeignKey("authority.id"), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("this_update", Utc, nullable=False),
        sa.Column("next_update", Utc, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("authority_id", "number"),
    )


def _sites_and_nodes() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(32), nullable=False, unique=True),
        sa.Column("is_hubs", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("as_number", sa.BigInteger, nullable=False),
        sa.Column("next_node", sa.Integer, nullable=False),
        sa.Column("removed_at", Utc),
    )
    op.create_table(
        "node",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site_id", sa.Integer, sa.ForeignKey("site.id"), nullable=False, index=True),
        sa.Column("name", sa.String(32), nullable=False, unique=True),
        sa.Column("common_name", sa.String(64)),
        sa.Column("as_number", sa.BigInteger),
        sa.Column("removed_at", Utc),
    )


def _blocks() -> None:
    op.create_table(
        "pool",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("text", sa.String(64), nullable=False),
        sa.Column("low", Position, nullable=False, unique=True),
        sa.Column("high", Position, nullable=False),
        sa.CheckConstraint("low <= high", name="pool_ascends"),
    )
    op.create_table(
        "holding",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("text", sa.String(64), nullable=False),
        sa.Column("low", Position, nullable=False, unique=True),
        sa.Column("high", Position, nullable=False),
        sa.Column("site_id", sa.Integer, sa.ForeignKey("site.id"), index=True),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("node.id"), index=True),
        sa.Column("note", sa.String(64)),
        sa.CheckConstraint("low <= high", name="holding_ascends"),
    )


def _refuse_overlaps(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_no_overlap"
            " EXCLUDE USING gist (numrange(low, high, '[]') WITH &&)"
        )
        return
    # Blocks never overlap: only the last one that begins before the new one's end can be in its way.
    for event, others in (("INSERT", ""), ("UPDATE", "AND id <> OLD.id")):
        op.execute(
            f"CREATE TRIGGER {table}_no_overlap_{event.lower()} BEFORE {event} ON {table} WHEN NEW.low <= ("  # noqa: S608
            f"SELECT high FROM {table} WHERE low <= NEW.high {others} ORDER BY low DESC LIMIT 1)"
            f" BEGIN SELECT RAISE(ABORT, '{table}_no_overlap'); END"
        )
