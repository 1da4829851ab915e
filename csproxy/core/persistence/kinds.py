"""The kinds of database that a configuration may stand in, and what names them.

SQLite and PostgreSQL are run in the tests. For Oracle and SQL Server the tests compile every statement and
look at it; nothing here has run against such a server.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import URL

from csproxy.errors import ConfigurationError

__all__ = ["KINDS", "DatabaseKind", "database_url", "find_kind"]


class DatabaseKind(NamedTuple):
    """One kind: ``names`` in confserv.conf, SQLAlchemy's ``backend`` and ``driver``, the ``extra`` that installs it."""

    names: tuple[str, ...]
    backend: str
    driver: str
    extra: str
    port: int


KINDS: Final = (
    DatabaseKind(("sqlite",), "sqlite", "sqlite", "database", 0),
    DatabaseKind(("postgre", "postgresql", "postgres"), "postgresql", "postgresql+psycopg", "postgresql", 5432),
    DatabaseKind(("oracle",), "oracle", "oracle+oracledb", "oracle", 1521),
    DatabaseKind(("mssql",), "mssql", "mssql+pymssql", "mssql", 1433),
)


def find_kind(engine: str) -> DatabaseKind:
    """The kind that option dbengine names. Raises `ConfigurationError` with a sentence about what is valid."""
    name = engine.strip().lower()
    for kind in KINDS:
        if name in kind.names:
            return kind
    valid = "valid: " + ", ".join(kind.names[0] for kind in KINDS)
    if name == "db2":
        raise ConfigurationError(f"DB2 is not supported: move the configuration to another database; {valid}")
    raise ConfigurationError(f"{engine!r} is not valid; {valid}")


def database_url(kind: DatabaseKind, *, host: str, port: int, name: str, user: str, password: str) -> URL:
    """Where a database is, from the options of confserv.conf; not for SQLite.

    ``host`` that begins with a slash is the folder of PostgreSQL's socket; ``port`` 0 is the kind's own.
    For Oracle ``name`` is the service name.
    """
    query: dict[str, str] = {}
    database: str | None = name
    if kind.backend == "oracle":
        database, query = None, {"service_name": name}
    if host.startswith("/"):
        query["host"], host = host, ""
    return URL.create(
        kind.driver,
        username=user or None,
        password=password or None,
        host=host or None,
        port=(port or kind.port) if host else port or None,
        database=database,
        query=query,
    )
