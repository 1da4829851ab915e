"""Security records: access control lists and accounts of applications stand among the objects."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_RECORDS = 1000
_ACCOUNT = 1100
_APPLICATION = 9

_objects = sa.table(
    "objects",
    sa.column("type", sa.Integer),
    sa.column("dbid", sa.Integer),
    sa.column("folder", sa.Integer),
    sa.column("body", sa.LargeBinary),
)
_acls = sa.table("acls", sa.column("type", sa.Integer), sa.column("dbid", sa.Integer), sa.column("acl", sa.LargeBinary))
_accounts = sa.table(
    "accounts", sa.column("application", sa.Integer), sa.column("type", sa.Integer), sa.column("dbid", sa.Integer)
)


def upgrade() -> None:
    """Move the rows of objects that are there; those of deleted ones go with the tables."""
    connection = op.get_bind()
    there = {(row.type, row.dbid) for row in connection.execute(sa.select(_objects.c.type, _objects.c.dbid))}
    rows = []
    for row in connection.execute(sa.select(_acls.c.type, _acls.c.dbid, _acls.c.acl)):
        if (row.type, row.dbid) in there:
            body = {"DBID": row.dbid, "entries": msgspec.msgpack.decode(row.acl)}
            rows.append(_row(_RECORDS + row.type, row.dbid, body))
    for row in connection.execute(sa.select(_accounts.c.application, _accounts.c.type, _accounts.c.dbid)):
        if (_APPLICATION, row.application) in there:
            body = {"DBID": row.application, "account": [row.type, row.dbid]}
            rows.append(_row(_ACCOUNT, row.application, body))
    if rows:
        connection.execute(sa.insert(_objects), rows)
    op.drop_table("acls")
    op.drop_table("accounts")


def _row(number: int, dbid: int, body: dict[str, object]) -> dict[str, object]:
    return {"type": number, "dbid": dbid, "folder": 0, "body": msgspec.msgpack.encode(body)}
