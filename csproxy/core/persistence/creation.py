"""Making a new database: schema, first objects and counters in one transaction."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine

from csproxy.core.persistence import tables
from csproxy.core.persistence.engine import create_store_engine, parse_url, sqlite_path, transaction
from csproxy.core.persistence.records import CredentialRow, ObjectRow
from csproxy.core.persistence.rows import insert_rows
from csproxy.core.persistence.schema import migrate, schema_version
from csproxy.errors import ErrorCode, StoreError

__all__ = ["create_database"]

_INSERT_ROWS: Final = 5_000


def create_database(
    url: str,
    objects: Iterable[ObjectRow],
    *,
    release: str,
    credentials: Iterable[CredentialRow],
    counters: Mapping[int, int],
) -> None:
    """Make a database; see `csproxy.core.persistence.store.Store.create`."""
    parsed = parse_url(url)
    path = sqlite_path(parsed)
    if path is not None:
        _make_file(path)
    engine = create_store_engine(parsed)
    try:
        _write(engine, parsed, objects, release=release, credentials=credentials, counters=counters)
    except BaseException:
        engine.dispose()
        if path is not None:
            _remove(path)
        raise
    engine.dispose()


def _make_file(path: Path) -> None:
    """Made before SQLite would: nobody else may read password hashes, and an existing file is never touched."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError as e:
        raise StoreError(f"{path} exists already: choose another place or remove it first") from e
    except OSError as e:
        raise StoreError(f"{path} cannot be made: {e.strerror}", code=ErrorCode.NO_DB_ACCESS) from e


def _write(
    engine: Engine,
    url: URL,
    objects: Iterable[ObjectRow],
    *,
    release: str,
    credentials: Iterable[CredentialRow],
    counters: Mapping[int, int],
) -> None:
    with transaction(engine, "making a new database") as connection:
        if schema_version(connection) is not None:
            raise StoreError(f"{url.render_as_string()} holds a configuration already")
        migrate(connection)
        last = {tables.UEN_COUNTER: 0, **_insert_objects(connection, objects)}
        for kind, value in counters.items():
            last[kind] = max(last.get(kind, 0), value)
        insert_rows(connection, tables.counters, sorted(last.items()))
        insert_rows(connection, tables.credentials, [row[:4] for row in credentials])
        insert_rows(connection, tables.meta, [("guid", str(uuid.uuid4())), ("release", release)])


def _insert_objects(connection: Connection, objects: Iterable[ObjectRow]) -> dict[int, int]:
    """Insert all rows; returns the highest DBID of each type."""
    last: dict[int, int] = {}
    rows: list[tuple[Any, ...]] = []
    for row in objects:
        last[row.type] = max(last.get(row.type, 0), row.dbid)
        rows.append(row[:4])
        if len(rows) == _INSERT_ROWS:
            insert_rows(connection, tables.objects, rows)
            rows = []
    insert_rows(connection, tables.objects, rows)
    return last


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
