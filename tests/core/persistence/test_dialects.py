"""Every statement that the store uses, compiled for the databases that tests do not run on."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Engine, LargeBinary, String, event, insert
from sqlalchemy.dialects import registry
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import ClauseElement

from csproxy.core.history import HistoryBatch, HistoryFloor, HistoryRecord
from csproxy.core.lease import Holder
from csproxy.core.persistence import tables
from csproxy.core.persistence.engine import create_store_engine, parse_url, sqlite_url
from csproxy.core.persistence.kinds import KINDS
from csproxy.core.persistence.mode import read_mode, write_mode
from csproxy.core.persistence.records import Batch, ChangeRecord, CredentialRow, KeepPolicy, ObjectRow
from csproxy.core.persistence.store import Store
from csproxy.errors import ConfigurationError

DIALECTS = ["oracle", "mssql", "postgresql"]
EVER = HistoryFloor(0, 0)
NAME_LIMIT = {"oracle": 30, "mssql": 128, "postgresql": 63}


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> list[ClauseElement]:
    """What a store sends when everything that it can do is done once, on SQLite."""
    seen: dict[str, ClauseElement] = {}

    def note(connection: Any, element: Any, *more: Any) -> None:
        if isinstance(element, ClauseElement) and "alembic_version" not in str(element):
            seen.setdefault(str(element), element)

    event.listen(Engine, "before_execute", note)
    try:
        _do_everything(sqlite_url(tmp_path_factory.mktemp("db") / "config.db"))
    finally:
        event.remove(Engine, "before_execute", note)
    return list(seen.values())


def _do_everything(url: str) -> None:
    Store.create(url, [ObjectRow(3, 1, 0, b"x")], release="1", credentials=[CredentialRow(3, 1, "h", 0)])
    with Store.open(url, keep=KeepPolicy(min_changes=0, min_age_ms=0, max_bytes=1)) as store:
        store.begin_epoch(1, holder=Holder("a", "b", "c", 1))
        for uen in (1, 2):
            record = ChangeRecord(uen, 1, True, 0, 75, 3, 1, b"payload", "", "")
            entry = HistoryRecord(action=75, time_ms=0, uen=uen)
            batch = Batch(
                objects=[ObjectRow(3, 1, 0, b"y"), ObjectRow(3, 2, 0, None)],
                changes=[record],
                counters={3: uen},
                credentials=[CredentialRow(3, 1, "i", 0), CredentialRow(3, 2, None, 0)],
                key=f"k{uen}",
                answer=record,
                history=HistoryBatch(lambda entry=entry: [entry], 1),
            )
            store.commit(batch, time_ms=0)
        store.find_outcome("k1")
        log = store.history_log
        log.add_sessions([HistoryRecord(action=1, time_ms=0, uen=1)], max_records=5)
        log.read(EVER, since_uen=1)
        list(log.export(EVER))
        log.clean_up(HistoryFloor(1, 1), max_records=1)
        store.write_beside(partial(write_mode, mode=2))
        store.read_beside(read_mode)
        for read in (store.load(), store.history(after=1, until=5), store.credentials()):
            list(read)
        store.objects_of(3)
        store.was_committed(1, 2)
        store.counters()
        store.epochs()
        store.renew()
        store.beat()
        store.give_up()


def _dialect(name: str) -> Any:
    """As it is for a server of our days; older ones have other types."""
    dialect = registry.load(name)()
    if name == "mssql":
        dialect.deprecate_large_types = True
    if name == "oracle":
        dialect.supports_native_boolean = False
    return dialect


@pytest.mark.parametrize("name", DIALECTS)
def test_every_statement_compiles_without_what_the_database_does_not_know(
    statements: list[ClauseElement], name: str
) -> None:
    assert len(statements) > 40
    for statement in statements:
        text = str(statement.compile(dialect=_dialect(name)))
        words = re.sub(r'"[^"]*"|\[[^]]*\]', "", text)
        if name != "postgresql":
            assert "LIMIT" not in words, text
            assert not re.search(r"\b(true|false)\b", words), text
        assert "ON CONFLICT" not in words
        assert "RETURNING" not in words
        assert "FOR UPDATE" not in words


@pytest.mark.parametrize("name", DIALECTS)
def test_bounded_queries_keep_their_bound(statements: list[ClauseElement], name: str) -> None:
    bounded = [statement for statement in statements if "LIMIT" in str(statement)]
    assert len(bounded) >= 5
    bound = {"oracle": "FETCH FIRST", "mssql": "TOP", "postgresql": "LIMIT"}[name]
    for statement in bounded:
        assert bound in str(statement.compile(dialect=_dialect(name)))


@pytest.mark.parametrize("name", DIALECTS)
def test_the_schema_fits_the_database(name: str) -> None:
    dialect = _dialect(name)
    for table in tables.metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        assert "AUTO_INCREMENT" not in text
        assert "IDENTITY" not in text
        names = [table.name, *table.columns.keys(), *(str(index.name) for index in table.indexes)]
        assert max(map(len, names)) <= NAME_LIMIT[name]
        for index in table.indexes:
            assert "CREATE INDEX" in str(CreateIndex(index).compile(dialect=dialect))
        for column in table.columns:
            assert "NOT NULL" in re.search(rf"^\W*{column.name}\W.*$", text, re.M)[0]  # type: ignore[index]
            shown = column.type.compile(dialect)
            if isinstance(column.type, LargeBinary):
                assert shown == {"oracle": "BLOB", "mssql": "VARBINARY(max)", "postgresql": "BYTEA"}[name]
            elif isinstance(column.type, Boolean):
                assert shown == {"oracle": "SMALLINT", "mssql": "BIT", "postgresql": "BOOLEAN"}[name]
            elif isinstance(column.type, tables.Name):
                assert shown.startswith({"oracle": "VARCHAR2", "mssql": "NVARCHAR", "postgresql": "VARCHAR"}[name])
            elif isinstance(column.type, String):
                assert column.type.length is not None


@pytest.mark.parametrize("name", ["oracle", "mssql"])
def test_words_that_the_database_reserves_are_quoted(name: str) -> None:
    text = str(CreateTable(tables.history).compile(dialect=_dialect(name)))
    if name == "oracle":
        assert '"number" NUMBER(19)' in text
    assert "[key] VARCHAR(255)" in str(CreateTable(tables.idempotency).compile(dialect=registry.load("mssql")()))


def test_an_empty_name_is_not_null_on_oracle() -> None:
    kind = tables.Name(255)
    oracle, sqlite = _dialect("oracle"), _dialect("sqlite")
    for name in ("", "x"):
        for dialect in (oracle, sqlite):
            stored = kind.process_bind_param(name, dialect)
            assert stored or dialect is sqlite
            assert kind.process_result_value(stored, dialect) == name
    columns = [tables.changes.c.user_name, tables.changes.c.application, *list(tables.lease.c)[4:7]]
    assert all(isinstance(column.type, tables.Name) for column in columns)


@pytest.mark.parametrize(
    ("kind", "package"), [(kind, kind.extra) for kind in KINDS if kind.extra in ("oracle", "mssql")]
)
def test_a_missing_driver_is_one_sentence_that_says_what_to_install(kind: Any, package: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"pip install 'csproxy\[{package}\]'"):
        create_store_engine(parse_url(f"{kind.backend}://u:p@host/name"))


def test_a_change_of_a_row_is_a_deletion_and_an_insertion(statements: list[ClauseElement]) -> None:
    """An upsert would be another statement on each database."""
    assert any(isinstance(statement, type(insert(tables.objects))) for statement in statements)
    assert not any("MERGE" in str(statement) or "OR REPLACE" in str(statement) for statement in statements)


def test_the_path_is_quoted(tmp_path: Path) -> None:
    assert parse_url(sqlite_url(tmp_path / "a b")).database == str(tmp_path / "a b")
