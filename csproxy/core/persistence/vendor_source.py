"""Reading a vendor's database: one read-only transaction, few rows at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.pool import NullPool

from csproxy.core.persistence.engine import mapped_errors, parse_url, sqlite_path
from csproxy.errors import ConfigurationError, ErrorCode, StoreError

__all__ = ["ROWS_AT_ONCE", "VendorSource", "open_source"]

ROWS_AT_ONCE: Final = 500
"""Larger parts are slower and hold up whoever shares the process."""

CONNECT_TIMEOUT_S: Final = 30
"""How long PostgreSQL is waited for, unless the URL says otherwise."""

_POSTGRESQL: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class VendorSource:
    """The tables of an open database. Names are compared without regard to case."""

    def __init__(self, connection: Connection, schema: str | None) -> None:
        self._connection = connection
        self._schema = schema
        inspector = inspect(connection)
        names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        self._tables = {str(name).lower(): str(name) for name in names}
        self._columns: dict[str, dict[str, str]] = {}
        self._inspector = inspector

    @property
    def tables(self) -> Sequence[str]:
        """The names of tables and views, in lower case, sorted."""
        return sorted(self._tables)

    def columns(self, table: str) -> Mapping[str, str]:
        """The columns of a table: their names as they are, by lower case; {} if there is no such table."""
        found = self._columns.get(table.lower())
        if found is None:
            name = self._tables.get(table.lower())
            described = self._inspector.get_columns(name, self._schema) if name is not None else []
            found = self._columns[table.lower()] = {str(item["name"]).lower(): str(item["name"]) for item in described}
        return found

    def rows(self, table: str, columns: Sequence[str], *, order_by: str | None = None) -> Iterator[tuple[Any, ...]]:
        """The rows of a table; the columns must be there. At most `ROWS_AT_ONCE` are in memory."""
        known = self.columns(table)
        # one column may serve several attributes, but is asked for once
        asked = list(dict.fromkeys(known[name.lower()] for name in columns))
        places = [asked.index(known[name.lower()]) for name in columns]
        source = sql_table(self._tables[table.lower()], schema=self._schema)
        query: Any = select(*(sql_column(name) for name in asked)).select_from(source)
        if order_by is not None:
            query = query.order_by(sql_column(known[order_by.lower()]))
        options = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
        with (
            mapped_errors(f"reading table {table}"),
            self._connection.execute(query, execution_options=options) as found,
        ):
            for part in found.partitions(ROWS_AT_ONCE):
                for row in part:
                    yield tuple(row[place] for place in places)


@contextmanager
def open_source(url: str, schema: str | None = None) -> Iterator[VendorSource]:
    """Open a database for reading. SQLite and PostgreSQL are read as of one moment and refuse to be written.

    Raises `ConfigurationError` for a URL that cannot be used, `StoreError` where the database
    cannot be reached or fails.
    """
    engine = _engine(parse_url(url))
    try:
        try:
            with mapped_errors("connecting"):
                connection = engine.connect()
        except StoreError as e:
            raise StoreError(str(e), code=ErrorCode.NO_DB_ACCESS) from e
        with connection:
            with mapped_errors("reading its tables"):
                source = VendorSource(connection, schema)
            yield source
            connection.rollback()
    finally:
        engine.dispose()


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(url)
        is_postgresql = url.get_backend_name() == "postgresql"
        if is_postgresql and "connect_timeout" not in url.query:
            url = url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT_S)})
        return create_engine(url, poolclass=NullPool, execution_options=_POSTGRESQL if is_postgresql else {})
    except (NoSuchModuleError, ModuleNotFoundError) as e:
        raise ConfigurationError(
            f"database kind {url.drivername!r} is not usable: {e}; "
            "SQLite needs no further package, PostgreSQL the extra csproxy[postgresql]"
        ) from e


def _sqlite_engine(url: URL) -> Engine:
    path = sqlite_path(url)
    if path is None:
        raise ConfigurationError(
            f"database URL {str(url)!r} names no file: valid is for example sqlite:////path/config.db"
        )
    if not path.is_file():
        raise StoreError(f"there is no database file {path}", code=ErrorCode.NO_DB_ACCESS)
    read_only = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    engine = create_engine(read_only, poolclass=NullPool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    del record
    connection.isolation_level = None  # one transaction, begun by us: all tables as of one moment
    # texts that are not UTF-8 are to be reported, not to end the reading
    connection.text_factory = _text_or_bytes
    connection.execute("PRAGMA query_only=ON").close()


def _text_or_bytes(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
