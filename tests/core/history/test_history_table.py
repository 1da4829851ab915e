"""The history log on real SQLite files: order, bounds, expiry by a given clock, and failures that fail no change."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from csproxy.core.history import DAY_MS, HistoryBatch, HistoryFloor, HistoryRecord
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.history import STEP, HistoryTable
from csproxy.core.persistence.records import Batch, ChangeRecord, ObjectRow
from csproxy.core.persistence.store import Store
from csproxy.errors import ErrorCode, ModelError, StoreError

EVER = HistoryFloor(0, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Store.create(sqlite_url(tmp_path / "config.db"), [], release="1")
    return tmp_path / "config.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(sqlite_url(path)) as store:
        store.begin_epoch(7)
        yield store


def change(uen: int, *, time_ms: int = 0, size: int = 0) -> HistoryRecord:
    return HistoryRecord(action=75, time_ms=time_ms, uen=uen, type=3, dbid=100, user="u" * size)


def session(uen: int, *, time_ms: int = 0) -> HistoryRecord:
    return HistoryRecord(action=1, time_ms=time_ms, uen=uen, host="h")


def commit(store: Store, *, count: int = 1, time_ms: int = 0, max_records: int = 1_000_000, size: int = 0) -> None:
    first = store.head + 1
    uens = range(first, first + count)
    changes = [ChangeRecord(uen, 7, uen == uens[-1], time_ms, 75, 3, 100, b"p", "u", "a") for uen in uens]
    history = HistoryBatch(lambda: [change(uen, time_ms=time_ms, size=size) for uen in uens], max_records)
    rows = [ObjectRow(3, 100, 0, b"%d" % uens[-1])]
    store.commit(Batch(objects=rows, changes=changes, history=history), time_ms=time_ms)


def all_numbers(log: HistoryTable, floor: HistoryFloor = EVER) -> list[int]:
    return [number for part in log.export(floor) for number, _ in part]


def test_records_come_in_order_and_pages_go_on_where_they_stopped(store: Store) -> None:
    log = store.history_log
    assert log.read(EVER) == ([], [], False)
    log.add_sessions([], max_records=1)
    for _ in range(4):
        commit(store, count=3)
    assert repr(log) == "<HistoryTable 12 changes, 0 of administration, 0 sessions>"
    seen: list[int] = []
    more = True
    while more:
        page = log.read(EVER, after=seen[-1] if seen else 0, limit=5)
        more = page.more
        seen.extend(page.numbers)
        assert len(page.numbers) == len(page.records) <= 5
    assert seen == list(range(1, 13)) == all_numbers(log)
    assert log.read(EVER, limit=12).more is False
    assert log.read(EVER, limit=11).more is True


def test_a_page_is_bounded_in_bytes_and_never_empty(store: Store) -> None:
    commit(store, count=4, size=1000)
    log = store.history_log
    assert log.read(EVER, max_bytes=2500).numbers == [1, 2]
    assert log.read(EVER, max_bytes=2500).more is True
    assert log.read(EVER, max_bytes=10) == log.read(EVER, limit=1)


def test_since_a_uen_gives_later_changes_and_the_sessions_from_then_on(store: Store) -> None:
    log = store.history_log
    log.add_sessions([session(0)], max_records=10)
    commit(store, count=2)
    log.add_sessions([session(2), session(2)], max_records=10)
    commit(store)
    log.add_sessions([session(3)], max_records=10)
    assert log.read(EVER, since_uen=2).numbers == [4, 5, 6, 7]
    assert log.read(EVER, since_uen=3).numbers == [7]
    assert log.read(EVER, since_uen=2, after=5).numbers == [6, 7]
    assert log.read(EVER).numbers == [1, 2, 3, 4, 5, 6, 7]


def test_what_has_expired_is_not_read_and_goes_at_the_clean_up(store: Store) -> None:
    log = store.history_log
    for day in range(10):
        commit(store, time_ms=day * DAY_MS)
        log.add_sessions([session(day, time_ms=day * DAY_MS)], max_records=100)
    floor = HistoryFloor(changes_ms=4 * DAY_MS, sessions_ms=8 * DAY_MS)
    expected = [9, 11, 13, 15, 17, 18, 19, 20]
    assert log.read(floor).numbers == expected == all_numbers(log, floor)
    assert len(log.read(EVER).numbers) == 20
    deleted = 0
    while step := log.clean_up(floor, max_records=100, step=3):
        assert step <= 6
        deleted += step
    assert deleted == 12
    assert log.read(EVER).numbers == expected
    assert repr(log) == "<HistoryTable 6 changes, 0 of administration, 2 sessions>"


def test_a_batch_that_comes_again_is_not_stored_again_after_a_restart_either(path: Path) -> None:
    for added in (True, False):
        with Store.open(sqlite_url(path)) as store:
            store.begin_epoch(7)
            log = store.history_log
            assert log.add_sessions([session(1), session(2)], max_records=9, server="p", batch="a") is added
            assert log.add_sessions([session(3)], max_records=9) is True
    with Store.open(sqlite_url(path)) as store:
        store.begin_epoch(8)
        assert store.history_log.add_sessions([session(4)], max_records=9, server="p", batch="b") is True
        assert len(store.history_log.read(EVER).numbers) == 5


def test_a_batch_that_could_not_be_written_may_come_again(store: Store, path: Path) -> None:
    break_history(path, "ALTER TABLE history RENAME TO gone")
    with pytest.raises(StoreError):
        store.history_log.add_sessions([session(1)], max_records=9, server="p", batch="a")
    break_history(path, "ALTER TABLE gone RENAME TO history")
    assert store.history_log.add_sessions([session(1)], max_records=9, server="p", batch="a") is True


def test_numbers_are_never_given_twice(path: Path) -> None:
    for expected in (3, 4):
        with Store.open(sqlite_url(path)) as store:
            store.begin_epoch(7)
            commit(store, count=3 if expected == 3 else 1)
            late = HistoryFloor(10**15, 10**15)
            while store.history_log.clean_up(late, max_records=1):
                pass
            assert store.history_log.read(EVER).numbers == [expected]
            assert store.history_log.read(late).numbers == []


def test_adding_above_the_limit_deletes_the_oldest(store: Store) -> None:
    log = store.history_log
    for n in range(30):
        commit(store, count=2, time_ms=n, max_records=10)
    assert log.read(EVER).numbers == list(range(51, 61))


def test_a_lowered_limit_takes_effect_in_bounded_steps(store: Store) -> None:
    log = store.history_log
    commit(store, count=STEP + 100)
    commit(store, count=3, max_records=10)
    assert len(all_numbers(log)) == 100  # the three and STEP of the old ones made room
    commit(store, max_records=10)
    assert len(all_numbers(log)) == 10
    commit(store, count=50)
    assert log.clean_up(EVER, max_records=20, step=15) == 15
    assert len(all_numbers(log)) == 45


def test_sessions_cannot_push_changes_out(store: Store) -> None:
    log = store.history_log
    commit(store, count=5, max_records=10)
    for _ in range(5):
        log.add_sessions([session(5)] * 8, max_records=10)
    assert log.read(EVER).numbers[:5] == [1, 2, 3, 4, 5]
    assert len(log.read(EVER).numbers) == 15


def test_counts_are_known_after_a_restart(path: Path) -> None:
    with Store.open(sqlite_url(path)) as store:
        store.begin_epoch(7)
        commit(store, count=8, max_records=10)
    with Store.open(sqlite_url(path)) as store:
        store.begin_epoch(8)
        store._epoch = 8
        commit(store, count=4, max_records=10)
        assert store.history_log.read(EVER).numbers == list(range(3, 13))


def break_history(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()


def test_a_log_that_cannot_be_written_fails_no_change(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit(store)
    break_history(path, "CREATE TRIGGER full BEFORE INSERT ON history BEGIN SELECT RAISE(FAIL, 'no room'); END")
    with caplog.at_level(logging.ERROR):
        commit(store, count=3)
    (event,) = caplog.records
    assert (event.event, event.getMessage()) == (  # type: ignore[attr-defined]
        22138,
        "the history log could not be written, 3 records are missing in it: no room",
    )
    assert (store.head, store.read_head()) == (4, 4)
    assert [record.uen for part in store.history() for record in part] == [1, 2, 3, 4]
    assert [bytes(body) for part in store.load() for body in part.bodies] == [b"4"]
    break_history(path, "DROP TRIGGER full")
    commit(store)
    page = store.history_log.read(EVER)
    assert page.numbers == [1, 2]
    assert len(caplog.records) == 1


def test_an_error_that_rolls_everything_back_fails_no_change_either(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As SQLite does by itself when the disk is full."""
    break_history(path, "CREATE TRIGGER full BEFORE INSERT ON history BEGIN SELECT RAISE(ROLLBACK, 'gone'); END")
    with caplog.at_level(logging.ERROR):
        commit(store, count=2)
    assert "2 records are missing in it: gone" in caplog.text
    assert store.read_head() == 2
    assert [record.uen for part in store.history() for record in part] == [1, 2]


def test_a_record_that_cannot_be_made_fails_no_change(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> list[HistoryRecord]:
        raise ModelError(ErrorCode.OBJECT_PACKING_ERROR, "odd object")

    changes = [ChangeRecord(1, 7, True, 0, 75, 3, 100, b"p", "u", "a")]
    store.commit(Batch(objects=[], changes=changes, history=HistoryBatch(broken, 10)), time_ms=0)
    assert "1 records are missing in it: odd object" in caplog.text
    assert store.read_head() == 1


def test_a_change_that_fails_leaves_no_record(store: Store, path: Path) -> None:
    commit(store)
    break_history(path, "CREATE TRIGGER no BEFORE DELETE ON objects BEGIN SELECT RAISE(FAIL, 'refused'); END")
    with pytest.raises(StoreError, match="refused"):
        commit(store)
    assert store.history_log.read(EVER).numbers == [1]
    break_history(path, "DROP TRIGGER no")
    commit(store)
    assert store.history_log.read(EVER).numbers == [1, 2]


def test_sessions_that_cannot_be_written_are_an_error_for_their_caller(store: Store, path: Path) -> None:
    log = store.history_log
    log.add_sessions([session(1)], max_records=10)
    break_history(path, "ALTER TABLE history RENAME TO gone")
    for failing in (
        lambda: log.add_sessions([session(2)], max_records=10),
        lambda: log.clean_up(EVER, max_records=1),
        lambda: log.read(EVER),
        lambda: list(log.export(EVER)),
    ):
        with pytest.raises(StoreError, match="no such table: history"):
            failing()
    break_history(path, "ALTER TABLE gone RENAME TO history")
    log.add_sessions([session(3)], max_records=10)
    assert log.read(EVER).numbers == [1, 2]


def test_the_log_survives_kill_9_exactly_as_far_as_the_changes(path: Path) -> None:
    import os
    import signal
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from csproxy.core.persistence.store import Store\n"
        "from tests.core.history.test_history_table import commit\n"
        "store = Store.open(sys.argv[1])\n"
        "store.begin_epoch(7)\n"
        "while True:\n"
        "    commit(store, count=2, max_records=25)\n"
        "    print(store.head, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, sqlite_url(path)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    ) as writer:
        assert writer.stdout is not None
        for _ in range(30):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    with Store.open(sqlite_url(path)) as store:
        assert store.head >= 60
        assert store.history_log.read(EVER).numbers == list(range(store.head - 24, store.head + 1))
