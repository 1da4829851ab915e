"""The lease: which server has the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty: nobody has the database."""
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("time_ms", sa.Integer, nullable=False),
        sa.Column("application", sa.Unicode(255), nullable=False),
        sa.Column("process", sa.Unicode(255), nullable=False),
        sa.Column("address", sa.Unicode(255), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
    )
