"""The store under kill -9, a full disk and a broken file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from csproxy.core.persistence.engine import mapped_errors, sqlite_url
from csproxy.core.persistence.records import Batch, ChangeRecord, ObjectRow
from csproxy.core.persistence.store import Store
from csproxy.errors import ErrorCode, StoreError

WRITER = """
import sys
from csproxy.core.persistence.records import Batch, ChangeRecord, ObjectRow
from csproxy.core.persistence.store import Store

store = Store.open(sys.argv[1])
store.begin_epoch(int(sys.argv[2]))
while True:
    uen = store.head + 1
    changes = [
        ChangeRecord(uen, int(sys.argv[2]), False, 0, 75, 3, uen, b"p" * 300, "u", "a"),
        ChangeRecord(uen + 1, int(sys.argv[2]), True, 0, 75, 3, uen + 1, b"p" * 300, "u", "a"),
    ]
    rows = [ObjectRow(3, change.dbid, 0, b"o" * 300) for change in changes]
    store.commit(Batch(objects=rows, changes=changes, counters={3: uen + 1}), time_ms=0)
    print(uen + 1, flush=True)
"""


def test_no_acknowledged_commit_is_lost_by_kill_9(database_url: str) -> None:
    url = database_url
    Store.create(url, [], release="1")
    acknowledged = 0
    for round in range(1, 4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(round)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
        ) as writer:
            assert writer.stdout is not None
            for _ in range(20 * round):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:  # acknowledged before the kill arrived
                acknowledged = int(line)
        assert writer.returncode == -signal.SIGKILL
        with Store.open(url) as store:
            head = store.head
            assert head >= acknowledged
            assert head % 2 == 0, "half a transaction was kept"
            assert [record.uen for part in store.history() for record in part] == list(range(1, head + 1))
            assert sorted(dbid for part in store.load() for dbid in part.dbids) == list(range(1, head + 1))
            assert store.counters() == {3: head}
            assert len(store.epochs()) == round


FILLER = """
import resource, sys
from csproxy.core.persistence.records import Batch, ChangeRecord, ObjectRow
from csproxy.core.persistence.store import Store
from csproxy.errors import StoreError

store = Store.open(sys.argv[1])
store.begin_epoch(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))

def commit(size):
    uen = store.head + 1
    changes = [ChangeRecord(uen, 1, True, 0, 75, 3, uen, b"p" * size, "u", "a")]
    store.commit(Batch(objects=[ObjectRow(3, uen, 0, b"o" * size)], changes=changes, counters={3: uen}), time_ms=0)

acknowledged = 0
try:
    while True:
        commit(20_000)
        acknowledged = store.head
except StoreError as e:
    print(acknowledged, store.read_head(), int(e.code), e, sep="|")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
commit(10)
print(store.head, store.read_head())
"""


def test_a_full_disk_refuses_a_commit_keeps_the_others_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "config.db")
    Store.create(url, [], release="1")
    done = subprocess.run([sys.executable, "-c", FILLER, url], capture_output=True, text=True, timeout=60, check=True)
    refusal, after = done.stdout.splitlines()
    acknowledged, head, code, sentence = refusal.split("|")
    assert int(acknowledged) == int(head) > 0
    assert int(code) == ErrorCode.DB_ERROR
    assert "the database failed while writing a change" in sentence
    assert after == f"{int(head) + 1} {int(head) + 1}"
    with Store.open(url) as store:
        assert [record.uen for part in store.history() for record in part] == list(range(1, int(head) + 2))


def test_a_reader_that_holds_the_database_is_waited_for_then_named_as_no_access(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csproxy.core.persistence.engine.BUSY_TIMEOUT_MS", 1)
    url = sqlite_url(tmp_path / "config.db")
    Store.create(url, [], release="1")
    with Store.open(url) as store:
        store.begin_epoch(1)
        other = sqlite3.connect(tmp_path / "config.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        batch = Batch(objects=[ObjectRow(3, 1, 0, b"x")], changes=[ChangeRecord(1, 1, True, 0, 74, 3, 1, b"p", "", "")])
        with pytest.raises(StoreError, match="database is locked") as caught:
            store.commit(batch, time_ms=0)
        assert caught.value.code is ErrorCode.NO_DB_ACCESS
        other.execute("ROLLBACK")
        other.close()
        store.commit(batch, time_ms=0)
        assert store.read_head() == 1


def test_a_damaged_file_is_an_error_and_not_an_empty_configuration(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "config.db")
    Store.create(url, [ObjectRow(3, n, 0, b"x" * 500) for n in range(1, 500)], release="1")
    with open(tmp_path / "config.db", "r+b") as file:
        file.seek(100_000)
        file.write(os.urandom(50_000))
    with Store.open(url) as store, pytest.raises(StoreError, match="loading the objects") as caught:
        list(store.load())
    assert caught.value.code is ErrorCode.DB_ERROR


class _Full(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_FULL


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InvalidRequestError("bad\n  use"), ErrorCode.DB_ERROR, "failed while testing: bad use"),
        (DBAPIError("SELECT 1", {}, _Full("full")), ErrorCode.DB_ERROR, "there is no space left"),
        (DBAPIError("SELECT 1", {}, OSError("gone"), connection_invalidated=True), ErrorCode.NO_DB_ACCESS, "gone"),
        (DBAPIError("SELECT 1", {}, OSError("odd")), ErrorCode.DB_ERROR, "odd"),
    ],
)
def test_database_errors_become_one_kind_with_the_published_code(error: Exception, code: ErrorCode, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught, mapped_errors("testing"):
        raise error
    assert caught.value.code is code
    assert caught.value.__cause__ is error
