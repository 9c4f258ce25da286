"""Tokens that nodes enrol with, and the keys of the server they enrol at."""

import sqlalchemy as sa
from alembic import op

from dmvpn_agent.ca.schema import Utc

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "token",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("node.id"), nullable=False, index=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("expires_at", Utc, nullable=False),
        sa.Column("used_at", Utc),
        sa.Column("key", sa.String(64)),
        sa.Column("certificate_id", sa.Integer, sa.ForeignKey("certificate.id")),
    )
    op.create_table(
        "service",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("certificate_id", sa.Integer, sa.ForeignKey("certificate.id"), nullable=False),
    )
