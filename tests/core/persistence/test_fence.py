"""Two servers on one database: only the master of the newest epoch can write, whatever happens at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from csproxy.core.changes import Epoch
from csproxy.core.lease import Holder, Lease
from csproxy.core.persistence.fence import was_written
from csproxy.core.persistence.history import HistoryFloor
from csproxy.core.persistence.mode import write_mode
from csproxy.core.persistence.processes import is_alive, own_process
from csproxy.core.persistence.records import Batch, ChangeRecord, ObjectRow
from csproxy.core.persistence.store import Store
from csproxy.errors import FencedError

FIRST = Holder("confserv", "p 1 1", "127.0.0.1", 2020)
SECOND = Holder("confserv_backup", "p 2 2", "127.0.0.1", 2021)


@pytest.fixture
def url(database_url: str) -> str:
    Store.create(database_url, [], release="1")
    return database_url


def batch(uen: int, epoch: int) -> Batch:
    change = ChangeRecord(uen, epoch, True, 0, 75, 3, uen, b"p", "", "")
    return Batch(objects=[ObjectRow(3, uen, 0, b"%d" % epoch)], changes=[change], counters={3: uen})


def write(store: Store, epoch: int) -> int:
    """Commit one change; returns its UEN."""
    uen = store.head + 1
    store.commit(batch(uen, epoch), time_ms=0)
    return uen


def records(store: Store) -> list[tuple[int, int]]:
    return [(record.uen, record.epoch) for part in store.history() for record in part]


def test_two_stores_that_take_the_database_from_each_other_never_share_a_number(url: str) -> None:
    """Each commits as fast as it can and takes the database anew when it has lost it."""
    acknowledged: list[tuple[int, int]] = []
    fences = [0, 0]
    start = threading.Barrier(2, timeout=30)

    def run(index: int) -> None:
        with Store.open(url) as store:
            for round_ in range(12):
                epoch = 100 * (index + 1) + round_
                store.begin_epoch(epoch)
                start.wait()
                try:
                    for _ in range(10):
                        uen = write(store, epoch)
                        acknowledged.append((uen, epoch))
                except FencedError:
                    fences[index] += 1
                start.wait()

    threads = [threading.Thread(target=run, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(url, reading=True) as store:
        assert records(store) == sorted(acknowledged)
        assert store.head == len(acknowledged)
        first_of = dict(store.epochs())
        assert [uen for uen, _ in records(store)] == list(range(1, store.head + 1))
        assert all(uen >= first_of[epoch] for uen, epoch in acknowledged)
    assert sum(fences) == 12, "in each round one of the two has lost the database"


@pytest.mark.parametrize(
    "write_late",
    [
        lambda store: store.commit(batch(1, 1), time_ms=0),
        lambda store: store.write_beside(lambda connection: write_mode(connection, 2)),
        lambda store: store.history_log.clean_up(HistoryFloor(0, 0), max_records=1),
    ],
)
def test_whoever_writes_while_another_takes_the_database_waits_and_is_refused(
    url: str, write_late: Callable[[Store], object]
) -> None:
    outcome: list[Exception] = []
    with Store.open(url) as first, Store.open(url) as second:
        first.begin_epoch(1)

        def try_to_write() -> None:
            try:
                write_late(first)
            except FencedError as e:
                outcome.append(e)

        thread = threading.Thread(target=try_to_write)

        def while_locked(lease: Lease | None) -> bool:
            thread.start()
            thread.join(0.2)
            assert thread.is_alive(), "it did not wait for the one that takes the database"
            return True

        second.begin_epoch(2, seen=while_locked)
        thread.join()
        assert "another master has taken the database" in str(outcome[0])
        assert (second.read_head(), second.epochs()) == (0, [Epoch(1, 1), Epoch(2, 1)])


def test_an_unknown_outcome_is_settled_by_epoch_and_number(url: str) -> None:
    with Store.open(url) as first, Store.open(url) as second:
        first.begin_epoch(1)
        write(first, 1)
        assert (first.was_committed(1, 1), first.was_committed(1, 2)) == (True, False)
        second.begin_epoch(2)
        write(second, 2)
        assert (first.was_committed(1, 1), first.was_committed(1, 2)) == (True, False), "2 is the other's"
        assert (second.was_committed(2, 1), second.was_committed(2, 2)) == (False, True)


def test_the_epoch_table_tells_whose_a_number_is() -> None:
    table = [Epoch(7, 1), Epoch(8, 5), Epoch(9, 5)]
    assert was_written(table, head=10, epoch=7, uen=4)
    assert not was_written(table, head=10, epoch=7, uen=5)
    assert not was_written(table, head=10, epoch=8, uen=5)
    assert was_written(table, head=10, epoch=9, uen=10)
    assert not was_written(table, head=10, epoch=9, uen=11)
    assert not was_written(table, head=10, epoch=6, uen=1)


def test_the_lease_names_its_holder_and_is_renewed_by_it_alone(url: str) -> None:
    with Store.open(url) as first, Store.open(url) as second:
        assert second.beat() == (0, None)
        first.begin_epoch(1, holder=FIRST, lease_s=2.5)
        assert second.beat() == (0, Lease(1, 0, 2.5, FIRST))
        assert first.renew()
        assert not second.renew()
        assert second.beat().lease == Lease(1, 1, 2.5, FIRST)
        second.begin_epoch(2, holder=SECOND)
        assert not first.renew()
        first.give_up()  # what it has no more
        assert first.beat().lease == Lease(2, 0, 10.0, SECOND)
        second.give_up()
        second.give_up()
        assert first.beat().lease == Lease(0, 0, 10.0, SECOND)
        with pytest.raises(FencedError):
            second.write_beside(lambda connection: write_mode(connection, 2))


def test_a_lease_that_moved_meanwhile_is_not_taken(url: str) -> None:
    with Store.open(url) as first, Store.open(url) as second:
        first.begin_epoch(1, holder=FIRST)
        seen = second.beat().lease
        first.renew()
        with pytest.raises(FencedError, match=r"took the database first: 'confserv' at 127\.0\.0\.1:2020"):
            second.begin_epoch(2, holder=SECOND, seen=lambda lease: lease == seen)
        assert write(first, 1) == 1


def test_names_of_any_language_stand_in_the_lease(url: str) -> None:
    holder = Holder("Änderungsserver 日本", "", "host", 1)
    with Store.open(url) as store:
        store.begin_epoch(1, holder=holder)
        lease = store.beat().lease
        assert lease is not None
        assert lease.holder == holder


def test_a_process_is_known_by_its_birth() -> None:
    own = own_process()
    world, number, started = own.split(" ")
    assert is_alive(own) is True
    assert is_alive(f"{world} {number} {int(started) + 1}") is False
    assert is_alive(f"{world} 4194305 1") is False
    assert is_alive(f"elsewhere {number} {started}") is None
    assert is_alive("") is None


def test_where_the_system_does_not_tell_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = own_process()
    monkeypatch.setattr("csproxy.core.persistence.processes._PROC", tmp_path)
    assert own_process() == ""
    assert is_alive(own) is None
