"""Permissions: acls and accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables, empty: everything inherits the default ACL, and applications act as SYSTEM."""
    op.create_table(
        "acls",
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("dbid", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("acl", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("application", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Integer, nullable=False),
        sa.Column("dbid", sa.Integer, nullable=False),
    )
