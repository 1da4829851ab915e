"""How a database is named, and what bounds the waits for a PostgreSQL server."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from csproxy.core.persistence import postgresql
from csproxy.core.persistence.engine import create_store_engine, mapped_errors, parse_url, transaction
from csproxy.core.persistence.kinds import database_url, find_kind
from csproxy.errors import ConfigurationError, ErrorCode, StoreError
from tests.postgresql import PostgresServer


@pytest.mark.parametrize(
    ("engine", "options", "url"),
    [
        ("postgre", {"host": "h"}, "postgresql+psycopg://u:p%40@h:5432/n"),
        ("PostgreSQL ", {"host": "h", "port": 1}, "postgresql+psycopg://u:p%40@h:1/n"),
        ("postgre", {"host": "/run/pg"}, "postgresql+psycopg://u:p%40@/n?host=%2Frun%2Fpg"),
        ("postgre", {"host": "h", "user": "", "password": ""}, "postgresql+psycopg://h:5432/n"),
        ("oracle", {"host": "h"}, "oracle+oracledb://u:p%40@h:1521?service_name=n"),
        ("mssql", {"host": "h", "port": 9}, "mssql+pymssql://u:p%40@h:9/n"),
    ],
)
def test_the_options_of_the_file_make_a_url(engine: str, options: dict[str, Any], url: str) -> None:
    given = {"port": 0, "name": "n", "user": "u", "password": "p@", **options}
    assert database_url(find_kind(engine), **given).render_as_string(hide_password=False) == url


@pytest.mark.parametrize(("engine", "words"), [("db2", "DB2 is not supported"), ("dbase", "'dbase' is not valid")])
def test_another_kind_is_refused_with_what_is_valid(engine: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{words}.*valid: sqlite, postgre, oracle, mssql"):
        find_kind(engine)


def test_a_kind_without_driver_gets_the_usual_one() -> None:
    assert parse_url("postgresql://h/n").drivername == "postgresql+psycopg"
    assert parse_url("mssql+pyodbc://h/n").drivername == "mssql+pyodbc"


def test_a_server_that_says_nothing_is_given_up(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "SILENCE_S", 0.2)
    engine = create_store_engine(parse_url(postgres.url()))
    with (
        pytest.raises(StoreError, match=r"the server did not answer within 0\.2 s") as caught,
        transaction(engine, "waiting") as connection,
    ):
        connection.execute(text("SELECT pg_sleep(60)"))
    assert caught.value.code is ErrorCode.NO_DB_ACCESS
    with transaction(engine, "asking again") as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_many_rows_are_sent_one_by_one(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipeline the server would wait for ever for a process that was stopped between two rows."""

    def in_a_pipeline(*arguments: Any, **options: Any) -> None:
        raise AssertionError("many rows in a pipeline")

    monkeypatch.setattr("psycopg.Cursor.executemany", in_a_pipeline)
    engine = create_store_engine(parse_url(postgres.url()))
    with transaction(engine, "writing") as connection:
        connection.execute(text("CREATE TEMPORARY TABLE numbers (n integer)"))
        connection.execute(text("INSERT INTO numbers VALUES (:n)"), [{"n": n} for n in range(3)])
        assert connection.execute(text("SELECT sum(n) FROM numbers")).scalar() == 3
    engine.dispose()


def test_a_long_statement_is_ended_by_the_server(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(postgresql._SESSION, "statement_timeout", 100)
    engine = create_store_engine(parse_url(postgres.url()))
    with (
        pytest.raises(StoreError, match="statement timeout") as caught,
        transaction(engine, "waiting") as connection,
    ):
        connection.execute(text("SELECT pg_sleep(60)"))
    assert caught.value.code is ErrorCode.DB_ERROR
    engine.dispose()


@pytest.mark.parametrize("query", ["", "?port=1"])
def test_what_cannot_be_reached_is_no_access(postgres: PostgresServer, query: str) -> None:
    url = f"postgresql://csproxy@/nosuch?host={postgres.folder}&port={postgres.port}" if not query else ""
    engine = create_store_engine(parse_url(url or f"postgresql://csproxy@127.0.0.1/x{query}"))
    with pytest.raises(StoreError) as caught, transaction(engine, "being opened"):
        pytest.fail("entered")
    assert caught.value.code is ErrorCode.NO_DB_ACCESS
    with pytest.raises(StoreError), mapped_errors("again"), engine.connect():
        pytest.fail("entered")
    engine.dispose()
