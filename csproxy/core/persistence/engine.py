"""Connections and transactions, and the one place where database errors become `StoreError`.

SQLite: WAL and synchronous=FULL, so that a commit survives a power failure; BEGIN IMMEDIATE, so
that a writer never fails half-way for want of the write lock. Elsewhere a writing transaction is READ
COMMITTED, and what must not race locks the row of the head UEN first (`csproxy.core.persistence.fence`); a
reading one sees one state throughout, as it does on SQLite.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from csproxy.core.persistence.kinds import KINDS
from csproxy.core.persistence.postgresql import bound_waits, is_postgresql_away
from csproxy.errors import ConfigurationError, ErrorCode, StoreError

__all__ = [
    "BUSY_TIMEOUT_MS",
    "create_store_engine",
    "mapped_errors",
    "parse_url",
    "sqlite_path",
    "sqlite_url",
    "transaction",
]

BUSY_TIMEOUT_MS: Final = 5_000
"""How long SQLite waits for a lock that a backup tool or a reader holds."""

_NO_ACCESS: Final = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOTADB,
    }
)


def parse_url(url: str) -> URL:
    """Read a database URL (``sqlite:////path/config.db``, ``postgresql://user@host/name``).

    A kind without a driver gets the one that this project uses. Raises `ConfigurationError` naming what is valid; it
    does not show the URL, which may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as e:  # ValueError: a port that is no number
        raise ConfigurationError(
            "the database URL cannot be read: valid are for example sqlite:////path/config.db and "
            "postgresql://user@host:5432/name"
        ) from e
    if "@" in (parsed.host or ""):
        raise ConfigurationError("the database URL has more than one @: in a user name or password it is written %40")
    kind = next((kind for kind in KINDS if parsed.drivername in (kind.backend, *kind.names)), None)
    return parsed if kind is None else parsed.set(drivername=kind.driver)


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite database file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite database, links resolved; None for other databases and for one in memory."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:" or "uri" in url.query:
        return None
    return Path(url.database).resolve()


_TWO_CONNECTIONS: Final[dict[str, Any]] = {"pool_size": 1, "max_overflow": 1, "pool_timeout": 30}


_ONE_STATE: Final = {"postgresql": "REPEATABLE READ", "oracle": "SERIALIZABLE", "mssql": "SNAPSHOT"}
"""The isolation level in which all statements of a transaction see one state and hinder nobody."""


def create_store_engine(url: URL) -> Engine:
    """An engine with one connection for writing and one for a reader beside it.

    Raises `ConfigurationError` when the database kind is unknown or its driver is not installed.
    """
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(url)
        engine = create_engine(url, isolation_level="READ COMMITTED", **_TWO_CONNECTIONS)
    except (NoSuchModuleError, ModuleNotFoundError) as e:
        kind = next((kind for kind in KINDS if kind.driver == url.drivername), None)
        if kind is not None:
            problem = f"it needs a package that is not installed: pip install 'csproxy[{kind.extra}]'"
        else:
            problem = "valid kinds are " + ", ".join(kind.backend for kind in KINDS)
        raise ConfigurationError(f"database kind {url.drivername!r} is not usable: {problem}") from e
    _PREPARE.get(url.get_backend_name(), _leave)(engine)
    return engine


def _leave(engine: Engine) -> None:
    """Nothing is known to be needed for this kind."""


_PREPARE: Final = {"postgresql": bound_waits}


def _sqlite_engine(url: URL) -> Engine:
    # a database in memory is its connection
    pool = _TWO_CONNECTIONS if sqlite_path(url) is not None else {"poolclass": StaticPool}
    arguments = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000}
    engine = create_engine(url, connect_args=arguments, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("csproxy_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def transaction(engine: Engine, doing: str, *, reading: bool = False) -> Iterator[Connection]:
    """One database transaction: committed at the end of the block, rolled back on any error.

    ``reading`` promises to write nothing and sees one state. ``doing`` completes the sentence "the
    database failed while …". Raises `StoreError`.
    """
    options: dict[str, Any] = {"csproxy_reading": reading}
    if reading and engine.dialect.name in _ONE_STATE:
        options["isolation_level"] = _ONE_STATE[engine.dialect.name]
    with mapped_errors(doing), engine.connect() as connection, connection.execution_options(**options).begin():
        yield connection


@contextmanager
def mapped_errors(doing: str) -> Iterator[None]:
    """Turn SQLAlchemy's errors into `StoreError`: code 5 when the database cannot be reached, else 6."""
    try:
        yield
    except SQLAlchemyError as e:
        cause = e.orig if isinstance(e, DBAPIError) else e
        code = ErrorCode.NO_DB_ACCESS if _is_no_access(e) else ErrorCode.DB_ERROR
        raise StoreError(f"the database failed while {doing}: {_sentence(cause or e)}", code=code) from e


def _is_no_access(error: SQLAlchemyError) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _NO_ACCESS
    return error.connection_invalidated or is_postgresql_away(error.orig)


def _sentence(cause: BaseException) -> str:
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return "there is no space left for it (database or disk is full)"
    return " ".join(str(cause).split())
