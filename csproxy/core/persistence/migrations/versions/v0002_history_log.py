"""The history log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the index by which records expire."""
    op.create_table(
        "history",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("uen", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("history_kind_time", "history", ["kind", "time_ms", "number"])
