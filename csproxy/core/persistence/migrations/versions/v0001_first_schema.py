"""The first schema: meta, epochs, counters, objects, changes, idempotency, credentials.

Names are Unicode: the same column as String on SQLite and PostgreSQL, another one on SQL Server.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "meta",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(255), nullable=False),
    )
    op.create_table(
        "epochs",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("first_uen", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "objects",
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("dbid", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("folder", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("uen", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("last", sa.Boolean, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Integer, nullable=False),
        sa.Column("type", sa.Integer, nullable=False),
        sa.Column("dbid", sa.Integer, nullable=False),
        sa.Column("user_name", sa.Unicode(255), nullable=False),
        sa.Column("application", sa.Unicode(255), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("uen", sa.BigInteger, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
    )
    op.create_index("idempotency_time", "idempotency", ["time_ms"])
    op.create_table(
        "credentials",
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("dbid", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(255), nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
    )
