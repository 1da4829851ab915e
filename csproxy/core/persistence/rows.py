"""How plain values become rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, and_, bindparam, delete, insert

from csproxy.core.persistence import tables
from csproxy.core.persistence.records import Batch, ChangeRecord, ObjectRow

__all__ = [
    "CHANGE_COLUMNS",
    "change_record",
    "change_row",
    "final_rows",
    "insert_rows",
    "key_rows",
    "delete_rows",
    "replace_counters",
    "replace_objects",
]

_encode_answer = msgspec.msgpack.encode
_c = tables.changes.c
CHANGE_COLUMNS = (
    _c.uen, _c.epoch, _c.last, _c.time_ms, _c.action, _c.type, _c.dbid, _c.payload, _c.user_name, _c.application
)  # fmt: skip


def change_record(row: Row[*tuple[Any, ...]]) -> ChangeRecord:
    """A row of `CHANGE_COLUMNS` as a record."""
    uen, epoch, last, time_ms, action, kind, dbid, payload, user, application = row
    return ChangeRecord(uen, epoch, last, time_ms, action, kind, dbid, payload, user, application)


def change_row(change: ChangeRecord) -> tuple[Any, ...]:
    """A record as a row of `tables.changes`; names are cut to the columns, the payload holds them whole."""
    return (
        change.uen,
        change.epoch,
        change.last,
        change.time_ms,
        int(change.action),
        change.type,
        change.dbid,
        change.user[:255],
        change.application[:255],
        len(change.payload),
        change.payload,
    )


def final_rows(batches: Sequence[Batch]) -> list[ObjectRow]:
    """The rows of batches that follow each other, each object as it is in the end."""
    rows: dict[tuple[int, int], ObjectRow] = {}
    for batch in batches:
        for row in batch.objects:
            former = rows.get((row.type, row.dbid))
            rows[row.type, row.dbid] = row if former is None else row._replace(is_new=former.is_new)
    return list(rows.values())


def key_rows(batches: Sequence[Batch], time_ms: int) -> list[tuple[str, int, int, bytes]]:
    """Rows of `tables.idempotency` for the batches that have a key."""
    return [
        (batch.key, batch.changes[-1].uen, time_ms, _encode_answer(batch.answer))
        for batch in batches
        if batch.key and batch.answer is not None
    ]


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, each with all values in the order of the table's columns.

    SQLite's driver takes them as they are: what SQLAlchemy does with the parameters of each row would cost twice as
    much as the insertion itself.
    """
    if not rows:
        return
    names = [column.name for column in table.columns]
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})", list(rows))
    else:
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])


def replace_objects(connection: Connection, rows: Sequence[ObjectRow]) -> None:
    """Write object rows, delete those without body."""
    delete_rows(connection, tables.objects, [{"type": row.type, "dbid": row.dbid} for row in rows if not row.is_new])
    insert_rows(connection, tables.objects, [row[:4] for row in rows if row.body is not None])


def replace_counters(connection: Connection, values: Sequence[tuple[int, int]]) -> None:
    """Write counters, given as pairs of type and value."""
    delete_rows(connection, tables.counters, [{"type": kind} for kind, _ in values])
    insert_rows(connection, tables.counters, values)


def delete_rows(connection: Connection, table: Table, keys: Sequence[dict[str, int]]) -> None:
    """Delete rows by key: with an insertion an upsert that every database understands."""
    if keys:
        condition = and_(*(table.c[name] == bindparam(f"key_{name}") for name in keys[0]))
        connection.execute(
            delete(table).where(condition), [{f"key_{name}": value for name, value in key.items()} for key in keys]
        )
