"""Batches of session records: the last one of each server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty: the first batch of every server is a new one."""
    op.create_table(
        "session_batches",
        sa.Column("server", sa.String(255), primary_key=True),
        sa.Column("batch", sa.String(64), nullable=False),
    )
