"""Former password hashes, and what is kept of the log-ins of Persons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, empty."""
    op.create_table(
        "former_hashes",
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("dbid", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(255), nullable=False),
    )
    op.create_table(
        "log_ins",
        sa.Column("dbid", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
        sa.Column("application", sa.Unicode(255), nullable=False),
        sa.Column("address", sa.Unicode(255), nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("failed_ms", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("locked_ms", sa.BigInteger, nullable=False),
    )
