"""The operational mode in the database, beside the objects; lists and accounts of older databases among the objects."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

import msgspec
import pytest

from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.mode import read_mode, write_mode
from csproxy.core.persistence.records import ObjectRow
from csproxy.core.persistence.store import Store
from csproxy.core.security_records import AclEntry, decode_account, decode_acl
from csproxy.errors import ErrorCode, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.db"
    Store.create(sqlite_url(path), [ObjectRow(3, 101, 3, b"person"), ObjectRow(9, 8, 9, b"application")], release="1")
    return path


def test_a_new_database_has_the_full_mode(path: Path) -> None:
    with Store.open(sqlite_url(path), reading=True) as store:
        assert store.read_beside(read_mode) == 1


def test_the_mode_is_there_after_reopening(path: Path) -> None:
    with Store.open(sqlite_url(path)) as store:
        store.begin_epoch(7)
        store.write_beside(partial(write_mode, mode=2))
        store.write_beside(partial(write_mode, mode=3))
    with Store.open(sqlite_url(path)) as store:
        assert store.read_beside(read_mode) == 3


def test_only_the_newest_master_writes(path: Path) -> None:
    with Store.open(sqlite_url(path)) as store:
        with pytest.raises(StoreError, match="another master"):
            store.write_beside(partial(write_mode, mode=2))
        store.begin_epoch(7)
        with Store.open(sqlite_url(path), reading=True) as other:
            other.begin_epoch(8)
        with pytest.raises(StoreError, match="another master") as caught:
            store.write_beside(partial(write_mode, mode=2))
        assert caught.value.code == ErrorCode.NO_DB_ACCESS
        assert store.read_beside(read_mode) == 1


def test_lists_and_accounts_of_an_older_database_become_records_of_objects_that_are_there(path: Path) -> None:
    entries = [(3, 101, 1), (21, 97, 255)]
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE acls (type INTEGER, dbid INTEGER, acl BLOB NOT NULL, PRIMARY KEY (type, dbid))")
        database.execute("CREATE TABLE accounts (application INTEGER PRIMARY KEY, type INTEGER, dbid INTEGER)")
        body = msgspec.msgpack.encode(entries)
        database.executemany("INSERT INTO acls VALUES (?, ?, ?)", [(3, 101, body), (3, 999, body)])
        database.executemany("INSERT INTO accounts VALUES (?, 3, 101)", [(8,), (999,)])
        database.execute("UPDATE alembic_version SET version_num = '0006'")
    database.close()
    with Store.open(sqlite_url(path)) as store:
        ((dbid, acl),) = store.objects_of(1003)
        assert (dbid, decode_acl(acl)) == (101, tuple(AclEntry(*entry) for entry in entries))
        ((application, account),) = store.objects_of(1100)
        assert (application, decode_account(account)) == (8, (3, 101))


def test_an_older_database_without_lists_stays_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE acls (type INTEGER, dbid INTEGER, acl BLOB NOT NULL, PRIMARY KEY (type, dbid))")
        database.execute("CREATE TABLE accounts (application INTEGER PRIMARY KEY, type INTEGER, dbid INTEGER)")
        database.execute("UPDATE alembic_version SET version_num = '0006'")
    database.close()
    with Store.open(sqlite_url(path)) as store:
        assert [part.type for part in store.load()] == [3, 9]
