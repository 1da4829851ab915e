"""The store on real SQLite files: what it keeps, in which order, and what it refuses."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.schema import CreateTable

from csproxy.core import codec
from csproxy.core.changes import Epoch
from csproxy.core.history import HistoryBatch, HistoryFloor, HistoryRecord, decode_record
from csproxy.core.persistence import tables
from csproxy.core.persistence.engine import create_store_engine, parse_url, sqlite_url, transaction
from csproxy.core.persistence.initial import create_configuration, put_first_options
from csproxy.core.persistence.records import Batch, ChangeRecord, CredentialRow, KeepPolicy, ObjectRow
from csproxy.core.persistence.rows import replace_objects
from csproxy.core.persistence.store import PART_ROWS, Store
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ConfigurationError, ErrorCode, LocalProtocolError, ModelError, StoreError

EPOCH = 4711


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "config.db")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    Store.create(url, [ObjectRow(3, 100, 3, b"default")], release="1")
    with Store.open(url) as store:
        store.begin_epoch(EPOCH)
        yield store


def record(uen: int, *, last: bool = True, time_ms: int = 0, payload: bytes = b"p", epoch: int = EPOCH) -> ChangeRecord:
    return ChangeRecord(uen, epoch, last, time_ms, 75, 3, 100, payload, "jane", "sce")


def write(store: Store, *, count: int = 1, time_ms: int = 0, payload: bytes = b"p", **more: object) -> None:
    first = store.head + 1
    changes = [record(first + n, last=n == count - 1, time_ms=time_ms, payload=payload) for n in range(count)]
    store.commit(Batch(objects=[], changes=changes, **more), time_ms=time_ms)  # type: ignore[arg-type]


def objects(store: Store) -> dict[tuple[int, int], tuple[int, bytes]]:
    return {
        (part.type, dbid): (folder, body)
        for part in store.load()
        for dbid, body, folder in zip(part.dbids, part.bodies, part.folders, strict=True)
    }


def history(store: Store) -> list[ChangeRecord]:
    return [record for part in store.history() for record in part]


# --- making and opening --------------------------------------------------------------------------


def test_a_new_database_holds_its_objects_at_uen_0_without_history(url: str) -> None:
    rows = [ObjectRow(3, 100, 3, b"a"), ObjectRow(3, 250, 3, b"b"), ObjectRow(22, 3, 0, b"f")]
    Store.create(
        url, rows, release="1", counters={3: 100, 22: 100, 13: 100}, credentials=[CredentialRow(3, 100, "h", 5)]
    )
    with Store.open(url, reading=True) as store:
        assert objects(store) == {(3, 100): (3, b"a"), (3, 250): (3, b"b"), (22, 3): (0, b"f")}
        assert store.counters() == {3: 250, 13: 100, 22: 100}
        assert (store.head, store.epochs(), history(store)) == (0, [], [])
        assert [row for part in store.credentials() for row in part] == [CredentialRow(3, 100, "h", 5)]
        assert len(store.guid) == 36
        assert repr(store).endswith(" at UEN 0>")


def test_the_file_is_readable_by_its_owner_only(file_url: str, tmp_path: Path) -> None:
    Store.create(file_url, [], release="1")
    assert stat.S_IMODE((tmp_path / "config.db").stat().st_mode) == 0o600


def test_an_existing_file_is_never_touched(file_url: str, tmp_path: Path) -> None:
    (tmp_path / "config.db").write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        Store.create(file_url, [], release="1")
    assert (tmp_path / "config.db").read_text() == "precious"


def test_a_failed_creation_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="making a new database"):
        Store.create(url, [ObjectRow(3, 1, 0, b""), ObjectRow(3, 1, 0, b"")], release="1")
    assert list(tmp_path.iterdir()) == []
    Store.create(url, [], release="1")


def test_a_place_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "nowhere" / "config.db")
    with pytest.raises(StoreError, match="cannot be made: No such file") as caught:
        Store.create(url, [], release="1")
    assert caught.value.code is ErrorCode.NO_DB_ACCESS
    with pytest.raises(StoreError, match="csproxy init") as caught:
        Store.open(url)
    assert caught.value.code is ErrorCode.NO_DB_ACCESS


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("x" * 5000)
    with pytest.raises(StoreError, match="not a database") as caught:
        Store.open(sqlite_url(tmp_path / "text.db"))
    assert caught.value.code is ErrorCode.NO_DB_ACCESS
    sqlite3.connect(tmp_path / "other.db").close()
    (tmp_path / "other.db").touch()
    with pytest.raises(StoreError, match="is not a csproxy database"):
        Store.open(sqlite_url(tmp_path / "other.db"))


def test_a_newer_database_is_refused_for_writing_and_reading(url: str) -> None:
    Store.create(url, [], release="9")
    execute(url, "UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreError, match="schema version 0999, made by a newer release"):
        Store.open(url)
    with pytest.raises(StoreError, match="schema version 0999 and this release reads"):
        Store.open(url, reading=True)


def test_odd_paths_work(tmp_path: Path) -> None:
    folder = tmp_path / "50% off? #1"
    folder.mkdir()
    url = sqlite_url(folder / "config.db")
    Store.create(url, [], release="1")
    Store.open(url).close()
    assert {path.name for path in folder.iterdir()} == {"config.db"}


@pytest.mark.parametrize("url", ["config.db", "nosuch:///x", "oracle+nosuch://x"])
def test_a_url_that_is_none_or_a_kind_without_driver_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="valid"):
        Store.open(url)


def test_a_database_in_memory_can_be_made_once_and_opened() -> None:
    keeper = sqlite3.connect("file:shared?mode=memory&cache=shared", uri=True)
    url = "sqlite:///file:shared?mode=memory&cache=shared&uri=true"
    with pytest.raises(StoreError, match="not a csproxy database"):
        Store.open(url)
    Store.create(url, [], release="1")
    Store.open(url).close()
    with pytest.raises(StoreError, match="holds a configuration already"):
        Store.create(url, [], release="1")
    keeper.close()


def test_the_migrations_build_the_declared_tables(url: str) -> None:
    Store.create(url, [], release="1")
    engine = create_store_engine(parse_url(url))
    with transaction(engine, "comparing", reading=True) as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()


def test_a_database_of_an_earlier_schema_gets_what_is_new_and_keeps_what_it_has(url: str) -> None:
    Store.create(url, [ObjectRow(3, 101, 0, b"p")], release="1")
    body = "x'80'" if url.startswith("sqlite") else "'\\x80'"
    for statement in (
        "DROP TABLE lease",
        "DROP TABLE session_batches",
        "DROP TABLE former_hashes",
        "DROP TABLE log_ins",
        "CREATE TABLE acls (type INTEGER, dbid INTEGER, acl BYTEA)",
        "CREATE TABLE accounts (application INTEGER, type INTEGER, dbid INTEGER)",
        f"INSERT INTO history VALUES (1, 0, 1, 5, {body})",
        "UPDATE alembic_version SET version_num = '0003'",
    ):
        execute(url, statement)
    with Store.open(url) as store:
        assert [part.bodies for part in store.load()] == [[b"p"]]
        assert store.history_log.read(HistoryFloor(0, 0)).numbers == [1]
        assert store.beat() == (0, None)
        store.begin_epoch(1)
        assert store.history_log.add_sessions([], max_records=1, server="p", batch="a") is True
    with Store.open(url, reading=True) as store:
        assert store.head == 0


@pytest.mark.parametrize("dialect", ["postgresql", "oracle", "mssql"])
def test_the_schema_compiles_for_other_databases(dialect: str) -> None:
    from sqlalchemy.dialects import registry

    compiled = [
        str(CreateTable(table).compile(dialect=registry.load(dialect)())) for table in tables.metadata.sorted_tables
    ]
    assert {"objects", "changes"} <= set(tables.metadata.tables)
    assert all(text.strip().startswith("CREATE TABLE") for text in compiled)


def execute(url: str, statement: str) -> None:
    engine = create_store_engine(parse_url(url))
    with transaction(engine, "testing") as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_closing_twice_does_no_harm(url: str) -> None:
    Store.create(url, [], release="1")
    store = Store.open(url)
    store.close()
    store.close()


# --- epochs --------------------------------------------------------------------------------------


def test_each_epoch_begins_after_the_head(url: str) -> None:
    Store.create(url, [], release="1")
    with Store.open(url) as store:
        assert store.begin_epoch(11) == [Epoch(11, 1)]
        store.commit(Batch(objects=[], changes=[record(1, epoch=11)]), time_ms=0)
    with Store.open(url) as store:
        assert store.begin_epoch(2**63 - 1) == [Epoch(11, 1), Epoch(2**63 - 1, 2)]
        assert store.epochs() == [Epoch(11, 1), Epoch(2**63 - 1, 2)]


def test_what_comes_first_is_written_with_the_first_epoch_alone(url: str) -> None:
    def rename(connection: Connection) -> None:
        replace_objects(connection, [ObjectRow(3, 100, 3, b"other")])

    def fail(connection: Connection) -> None:
        rename(connection)
        raise ModelError(ErrorCode.UNDEFINED_ERROR, "not now")

    Store.create(url, [ObjectRow(3, 100, 3, b"default")], release="1")
    with Store.open(url) as store:
        with pytest.raises(ModelError):
            store.begin_epoch(1, first=fail)
        assert (store.epochs(), objects(store)) == ([], {(3, 100): (3, b"default")})
        store.begin_epoch(2, first=rename)
        assert (store.read_head(), objects(store)) == (0, {(3, 100): (3, b"other")})
        store.begin_epoch(3, first=fail)


def test_very_old_epochs_are_forgotten(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csproxy.core.persistence.store._MAX_EPOCHS", 3)
    Store.create(url, [], release="1")
    with Store.open(url) as store:
        for epoch in range(1, 6):
            kept = store.begin_epoch(epoch)
    assert [epoch.epoch for epoch in kept] == [3, 4, 5]


def test_only_the_newest_epoch_can_commit(url: str) -> None:
    Store.create(url, [], release="1")
    with Store.open(url) as first, Store.open(url, reading=True) as second:
        first.begin_epoch(1)
        second.begin_epoch(2)
        with pytest.raises(StoreError, match="another master has taken the database"):
            first.commit(Batch(objects=[ObjectRow(3, 1, 0, b"x")], changes=[record(1, epoch=1)]), time_ms=0)
        assert (second.read_head(), objects(second)) == (0, {})


def test_a_head_that_moved_elsewhere_is_noticed(store: Store, url: str) -> None:
    execute(url, "UPDATE counters SET value = 7 WHERE type = 0")
    with pytest.raises(StoreError, match="another master"):
        write(store)
    assert store.read_head() == 7


# --- commits -------------------------------------------------------------------------------------


def test_a_commit_writes_everything_at_once(store: Store, url: str) -> None:
    answer = record(2)
    store.commit(
        Batch(
            objects=[ObjectRow(3, 101, 3, b"new"), ObjectRow(3, 100, 4, b"changed")],
            changes=[record(1, last=False), record(2)],
            counters={3: 101, 13: 5},
            credentials=[CredentialRow(3, 101, "hash", 9)],
            key="k",
            answer=answer,
        ),
        time_ms=9,
    )
    for seen in (store, Store.open(url, reading=True)):
        assert objects(seen) == {(3, 100): (4, b"changed"), (3, 101): (3, b"new")}
        assert seen.counters() == {3: 101, 13: 5}
        assert history(seen) == [record(1, last=False), record(2)]
        assert [row for part in seen.credentials() for row in part] == [CredentialRow(3, 101, "hash", 9)]
        assert seen.find_outcome("k") == (2, answer)
        assert seen.find_outcome("other") is None
        assert seen.head == 2
    seen.close()


def test_several_batches_are_written_by_one_commit_each_with_its_key_and_history(store: Store) -> None:
    def batch(uen: int, body: bytes, **more: object) -> Batch:
        made = HistoryBatch(lambda: [HistoryRecord(action=75, time_ms=1, uen=uen)], 10)
        rows = [ObjectRow(3, 101, 3, body, is_new=uen == 1)]
        return Batch(objects=rows, changes=[record(uen)], key=f"k{uen}", answer=record(uen), history=made, **more)  # type: ignore[arg-type]

    store.commit(batch(1, b"first", counters={3: 101}), batch(2, b"second"), batch(3, b"third"), time_ms=9)
    assert objects(store)[3, 101] == (3, b"third")
    assert history(store) == [record(1), record(2), record(3)]
    assert [store.find_outcome(f"k{n}") for n in (1, 2, 3)] == [(n, record(n)) for n in (1, 2, 3)]
    assert [decode_record(body).uen for body in store.history_log.read(HistoryFloor(0, 0)).records] == [1, 2, 3]
    assert (store.head, store.counters()[3]) == (3, 101)
    with pytest.raises(LocalProtocolError):
        store.commit(time_ms=9)


def test_rows_without_content_are_deleted(store: Store) -> None:
    write(store, credentials=[CredentialRow(3, 100, "hash", 9)])
    store.commit(
        Batch(
            objects=[ObjectRow(3, 100, 0, None), ObjectRow(3, 555, 0, None)],
            changes=[record(2)],
            credentials=[CredentialRow(3, 100, None, 9)],
        ),
        time_ms=0,
    )
    assert objects(store) == {}
    assert list(store.credentials()) == []


def test_the_former_row_of_a_new_object_is_not_looked_for(store: Store) -> None:
    store.commit(Batch(objects=[ObjectRow(3, 101, 3, b"new", is_new=True)], changes=[record(1)]), time_ms=0)
    assert objects(store) == {(3, 100): (3, b"default"), (3, 101): (3, b"new")}
    with pytest.raises(StoreError):
        store.commit(Batch(objects=[ObjectRow(3, 100, 3, b"x", is_new=True)], changes=[record(2)]), time_ms=0)
    assert (store.read_head(), objects(store)[3, 100]) == (1, (3, b"default"))


def test_a_failed_commit_leaves_nothing_and_the_next_one_continues(store: Store) -> None:
    write(store, key="k", answer=record(1))
    with pytest.raises(StoreError) as caught:  # the same key again breaks the transaction at its end
        store.commit(
            Batch(
                objects=[ObjectRow(3, 101, 3, b"x")],
                changes=[record(2)],
                counters={3: 101},
                credentials=[CredentialRow(3, 1, "h", 0)],
                key="k",
                answer=record(2),
            ),
            time_ms=0,
        )
    assert caught.value.code is ErrorCode.DB_ERROR
    assert "writing a change" in str(caught.value)
    assert (store.head, store.read_head()) == (1, 1)
    assert (objects(store), store.counters(), list(store.credentials())) == ({(3, 100): (3, b"default")}, {3: 100}, [])
    write(store)
    assert [change.uen for change in history(store)] == [1, 2]


def test_a_commit_needs_an_epoch_and_a_change(store: Store, url: str) -> None:
    with pytest.raises(LocalProtocolError):
        store.commit(Batch(objects=[], changes=[]), time_ms=0)
    with Store.open(url, reading=True) as reader, pytest.raises(LocalProtocolError):
        write(reader)


def test_long_names_are_cut_in_the_columns_only(store: Store) -> None:
    change = record(1)
    long = ChangeRecord(*[getattr(change, name) for name in change.__struct_fields__[:8]], "u" * 300, "a" * 300)
    store.commit(Batch(objects=[], changes=[long]), time_ms=0)
    (kept,) = history(store)
    assert (len(kept.user), len(kept.application)) == (255, 255)


def test_loading_comes_in_small_parts_by_type_and_dbid(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csproxy.core.persistence.creation._INSERT_ROWS", 699)
    rows = [ObjectRow(number, dbid, 0, b"x") for number in (2, 3) for dbid in range(1, 700)]
    Store.create(url, reversed(rows), release="1")
    with Store.open(url, reading=True) as store:
        parts = list(store.load())
    assert all(len(part.dbids) <= PART_ROWS for part in parts)
    assert [(part.type, dbid) for part in parts for dbid in part.dbids] == [(row.type, row.dbid) for row in rows]


def test_a_load_is_one_state_whatever_is_committed_meanwhile(url: str) -> None:
    Store.create(url, [ObjectRow(3, dbid, 0, b"old") for dbid in range(1, 1200)], release="1")
    with Store.open(url) as store:
        store.begin_epoch(EPOCH)
        parts = store.load()
        first = next(parts)
        store.commit(Batch(objects=[ObjectRow(3, 1100, 0, b"new")], changes=[record(1)]), time_ms=0)
        bodies = [*first.bodies, *(body for part in parts for body in part.bodies)]
    assert set(bodies) == {b"old"}
    assert len(bodies) == 1199


# --- history -------------------------------------------------------------------------------------


def kept(store: Store) -> list[int]:
    return [change.uen for change in history(store)]


def opened(url: str, **policy: int) -> Store:
    store = Store.open(url, keep=KeepPolicy(**policy))
    store.begin_epoch(EPOCH)
    return store


def test_history_above_the_cap_is_trimmed_as_far_as_the_minima_allow(url: str) -> None:
    Store.create(url, [], release="1")
    with opened(url, min_changes=3, min_age_ms=1000, max_bytes=50) as store:
        for n in range(8):
            write(store, time_ms=n * 100, payload=b"x" * 10)
        assert kept(store) == [1, 2, 3, 4, 5, 6, 7, 8]  # 80 bytes, but all are young
        write(store, time_ms=1300, payload=b"x" * 10)
        assert kept(store) == [5, 6, 7, 8, 9]
        write(store, time_ms=9000, payload=b"x" * 1000)
        assert kept(store) == [8, 9, 10]
    with opened(url, min_changes=0, min_age_ms=0, max_bytes=50) as store:  # the size is known after a restart
        write(store, time_ms=9000, payload=b"x" * 10)
        assert kept(store) == [11]


def test_history_is_trimmed_between_transactions_only(url: str) -> None:
    Store.create(url, [], release="1")
    with opened(url, min_changes=2, min_age_ms=0, max_bytes=35) as store:
        write(store, count=3, payload=b"x" * 10)
        write(store, count=2, payload=b"x" * 10)
        assert kept(store) == [4, 5]
        write(store, count=4, payload=b"x" * 10)
        assert kept(store) == [6, 7, 8, 9]


def test_one_commit_removes_a_bounded_number_of_records(url: str) -> None:
    Store.create(url, [], release="1")
    with opened(url) as store:
        for _ in range(9):
            write(store, payload=b"x" * 10)
    with opened(url, min_changes=0, min_age_ms=0, max_bytes=0, step=4) as store:
        write(store)
        assert kept(store) == [5, 6, 7, 8, 9, 10]
        write(store)
        assert kept(store) == [9, 10, 11]


def test_old_idempotency_keys_are_forgotten(url: str) -> None:
    Store.create(url, [], release="1")
    with opened(url, keys_ms=1000) as store:
        write(store, time_ms=0, key="a", answer=record(1))
        write(store, time_ms=1000)
        assert store.find_outcome("a") is not None
        write(store, time_ms=1001)
        assert store.find_outcome("a") is None


# --- first configurations ------------------------------------------------------------------------


def test_a_first_configuration_can_be_loaded(url: str) -> None:
    made = well_known_objects()
    create_configuration(url, made, release="1", password_hashes={(3, 100): "h"}, time_ms=7)
    with Store.open(url, reading=True) as store:
        assert objects(store).keys() == {(number, obj["DBID"]) for number, obj, _ in made}
        assert set(store.counters().values()) == {100}
        assert [row for part in store.credentials() for row in part] == [CredentialRow(3, 100, "h", 7)]


def test_an_object_that_cannot_be_encoded_leaves_no_database(file_url: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        create_configuration(file_url, [(3, {"DBID": 1, "agentInfo": 5}, 3)], release="1")
    assert list(tmp_path.iterdir()) == []


def test_the_first_options_are_those_that_an_application_does_not_have(url: str) -> None:
    made = well_known_objects(proxies=[("CSProxy_1", 2021)])
    (master,) = (each.object for each in made if (each.type, each.object.get("name")) == (9, "confserv"))
    master["options"] = {"log": {"verbose": "alarm"}, "own": {"x": "1"}}
    create_configuration(url, made, release="1")
    options = {"log": {"verbose": "trace", "all": "stdout"}, "csproxy": {"packet-size": "4096"}}
    with Store.open(url) as store:
        before = objects(store)
        store.begin_epoch(1, first=partial(put_first_options, application="confserv", options=options))
        after = objects(store)
        assert list(store.history()) == []
    assert {key for key in before if before[key] != after[key]} == {(9, 99)}
    changed = codec.decode_map(after[9, 99][1])
    assert changed["options"] == {
        "log": {"verbose": "alarm", "all": "stdout"},
        "csproxy": {"packet-size": "4096"},
        "own": {"x": "1"},
    }
    assert {**changed, "options": master["options"]} == codec.decode_map(before[9, 99][1])


def test_first_options_of_an_application_that_is_not_there_are_nobodys(url: str) -> None:
    create_configuration(url, well_known_objects(), release="1")
    with Store.open(url) as store:
        before = objects(store)
        store.begin_epoch(1, first=partial(put_first_options, application="another", options={"log": {"all": "x"}}))
        assert objects(store) == before
