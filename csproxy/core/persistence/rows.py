"""How plain values become rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, bindparam, delete, insert

from csproxy.core.persistence import tables
from csproxy.core.persistence.records import ChangeRecord, CredentialRow, ObjectRow

__all__ = [
    "CHANGE_COLUMNS",
    "change_record",
    "change_row",
    "replace_counters",
    "replace_credentials",
    "replace_objects",
]

_c = tables.changes.c
CHANGE_COLUMNS = (
    _c.uen, _c.epoch, _c.last, _c.time_ms, _c.action, _c.type, _c.dbid, _c.payload, _c.user_name, _c.application
)  # fmt: skip


def change_record(row: Row[*tuple[Any, ...]]) -> ChangeRecord:
    """A row of `CHANGE_COLUMNS` as a record."""
    uen, epoch, last, time_ms, action, kind, dbid, payload, user, application = row
    return ChangeRecord(uen, epoch, last, time_ms, action, kind, dbid, payload, user, application)


def change_row(change: ChangeRecord) -> dict[str, Any]:
    """A record as a row; names are cut to the columns, the payload holds them whole."""
    return {
        "uen": change.uen,
        "epoch": change.epoch,
        "last": change.last,
        "time_ms": change.time_ms,
        "action": change.action,
        "type": change.type,
        "dbid": change.dbid,
        "user_name": change.user[:255],
        "application": change.application[:255],
        "size": len(change.payload),
        "payload": change.payload,
    }


def replace_objects(connection: Connection, rows: Sequence[ObjectRow]) -> None:
    """Write object rows, delete those without body."""
    _replace(
        connection,
        tables.objects,
        [{"type": row.type, "dbid": row.dbid} for row in rows],
        [row._asdict() for row in rows if row.body is not None],
    )


def replace_credentials(connection: Connection, rows: Sequence[CredentialRow]) -> None:
    """Write password hashes, delete those without hash."""
    _replace(
        connection,
        tables.credentials,
        [{"type": row.type, "dbid": row.dbid} for row in rows],
        [row._asdict() for row in rows if row.hash is not None],
    )


def replace_counters(connection: Connection, values: Sequence[tuple[int, int]]) -> None:
    """Write counters, given as pairs of type and value."""
    _replace(
        connection,
        tables.counters,
        [{"type": kind} for kind, _ in values],
        [{"type": kind, "value": value} for kind, value in values],
    )


def _replace(
    connection: Connection, table: Table, keys: Sequence[dict[str, int]], rows: Sequence[dict[str, Any]]
) -> None:
    """Delete rows by key, then insert: an upsert that every database understands."""
    if keys:
        condition = and_(*(table.c[name] == bindparam(f"key_{name}") for name in keys[0]))
        connection.execute(
            delete(table).where(condition), [{f"key_{name}": value for name, value in key.items()} for key in keys]
        )
    if rows:
        connection.execute(insert(table), rows)
