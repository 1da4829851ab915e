"""The master on a real database: what is acknowledged is stored, published, and there after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.lease import Holder
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.persistence import tables
from csproxy.core.persistence.engine import create_store_engine, parse_url, sqlite_url, transaction
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.persistence.processes import own_process
from csproxy.core.persistence.store import Store
from csproxy.core.replica import Replica, ReplicaSink
from csproxy.core.sessions import Author
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode, ModelError, ServerError, StoreError
from csproxy.transport.blocking import carrier, run_inline
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.wire.notifications import encode_notification
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject

pytestmark = pytest.mark.anyio

JANE = Author("jane", "sce", 100)
NOW = 1_700_000_000.0


class Sink:
    """A replica as the server keeps it, and everything that was published to it."""

    def __init__(self) -> None:
        self.replica = Replica(encode=encode_notification, clock=lambda: 0.0, limits=WindowLimits())
        self.published: list[Sequence[Change]] = []
        self.on_publish: Callable[[], None] = lambda: None

    @property
    def position(self) -> Position:
        return self.replica.position

    @property
    def cache(self) -> Any:
        return self.replica.cache

    @property
    def epochs(self) -> Sequence[Epoch]:
        return self.replica.epochs

    def publish(self, transaction: Sequence[Change]) -> None:
        self.replica.publish(transaction)
        self.published.append(transaction)
        self.on_publish()

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        self.replica.replace(builder, position, epochs)

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        self.replica.epochs = list(epochs)

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        self.replica.extend_history(transactions)

    def log(self) -> list[bytes]:
        log = self.replica.log
        return [record.frame for record in log.records(log.start, log.end)]


@pytest.fixture
def url(database_url: str) -> str:
    url = database_url
    create_configuration(url, well_known_objects(), release="1", password_hashes={(3, 100): "hash of the first"})
    return url


def make(url: str, sink: ReplicaSink, *, epoch: int = 7, **more: Any) -> DatabaseMaster:
    options: dict[str, Any] = {
        "holder": Holder("the first server", own_process()),
        "random_epoch": lambda: epoch,
        "hash_password": lambda password: f"hash of {password}",
        "wall_clock": lambda: NOW,
    }
    return DatabaseMaster(url, sink, **{**options, **more})


@asynccontextmanager
async def running(url: str, **more: Any) -> AsyncIterator[tuple[DatabaseMaster, Sink]]:
    sink = Sink()
    async with make(url, sink, **more) as master:
        yield master, sink


def skill(name: str, **more: Any) -> CreateObject:
    return CreateObject(type=13, object={"name": name, "tenantDBID": 1}, **more)


def assert_same(url: str, sink: Sink) -> None:
    """The database holds what the cache holds: objects, folders, head."""
    with Store.open(url, reading=True) as store:
        rows = {
            (part.type, dbid): (body, folder)
            for part in store.load()
            for dbid, body, folder in zip(part.dbids, part.bodies, part.folders, strict=True)
        }
        assert store.head == sink.position.uen
        assert store.epochs() == list(sink.epochs)
    cache = sink.cache
    assert rows == {
        (number, dbid): (cache.get(number, dbid), cache.folder_of(number, dbid))
        for number in SCHEMA.types
        for dbid in cache.dbids(number)
    }


# --- taking the database -------------------------------------------------------------------------


async def test_entering_brings_the_whole_configuration_in(url: str) -> None:
    async with running(url) as (master, sink):
        assert sink.position == Position(7, 0)
        assert sink.epochs == [Epoch(7, 1)]
        assert dict(master.credentials) == {(3, 100): "hash of the first"}
        assert_same(url, sink)


async def test_a_second_master_is_refused_by_the_name_of_the_first(url: str) -> None:
    async with running(url):
        with pytest.raises(StoreError, match="in use by 'the first server'"):
            async with running(url, holder=Holder("the second server", own_process())):
                pytest.fail("entered")
    async with running(url):
        pass


async def test_a_master_that_fails_to_load_gives_the_database_back(url: str) -> None:
    engine = create_store_engine(parse_url(url))
    with transaction(engine, "damaging") as connection:
        objects = tables.objects
        connection.execute(update(objects).where(objects.c.type.in_([3, 13])).values(body=b"\xc1"))
    engine.dispose()
    with pytest.raises(StoreError, match="holds an object that cannot be read: an object of type CfgPerson"):
        async with running(url):
            pytest.fail("entered")
    Store.open(url).close()


async def test_a_cancelled_start_gives_the_database_back(url: str) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with running(url):
            pytest.fail("entered")
    Store.open(url).close()


async def test_after_leaving_nothing_can_be_written(url: str) -> None:
    async with running(url) as (master, _):
        pass
    with pytest.raises(StoreError, match="given up its database") as caught:
        await master.write(skill("english"), JANE)
    assert caught.value.code is ErrorCode.NO_DB_ACCESS


# --- writing -------------------------------------------------------------------------------------


async def test_a_write_is_stored_and_published_when_it_returns(url: str) -> None:
    async with running(url) as (master, sink):
        (change,) = await master.write(skill("english"), JANE)
        assert sink.published == [[change]]
        assert (change.action, change.type, change.dbid) == (Action.CREATED, 13, 101)
        assert (change.position, change.last, change.folder) == (Position(7, 1), True, 13)
        assert (change.user, change.application, change.time_ms) == ("jane", "sce", int(NOW * 1000))
        assert_same(url, sink)
        statistics = master.statistics()
        assert (statistics.transactions, statistics.changes, statistics.head_uen) == (1, 1, 1)
        assert "1 transactions written" in repr(master)


async def test_one_transaction_has_one_last_change_and_no_gap(url: str) -> None:
    async with running(url) as (master, sink):
        changes = await master.write(CreateObject(type=7, object={"name": "North"}), JANE)
        assert len(changes) > 20
        assert [change.last for change in changes] == [False] * (len(changes) - 1) + [True]
        assert [change.position.uen for change in changes] == list(range(1, len(changes) + 1))
        changes = await master.write(DeleteObject(type=7, dbid=101), JANE)
        assert (changes[-1].type, changes[-1].dbid, changes[-1].former is not None) == (7, 101, True)
        assert_same(url, sink)


async def test_moves_are_stored(url: str) -> None:
    async with running(url) as (master, sink):
        await master.write(CreateObject(type=22, object={"name": "Team"}, folder=3), JANE)
        moved = {"objectIDs": {"added": [{"DBID": 100, "type": 3}]}}
        await master.write(UpdateObject(type=22, dbid=101, delta=moved), JANE)
        assert sink.cache.folder_of(3, 100) == 101
        assert_same(url, sink)
    async with running(url) as (_, sink):
        assert sink.cache.folder_of(3, 100) == 101


@pytest.mark.parametrize(
    "request_",
    [
        CreateObject(type=13, object={"tenantDBID": 1}),
        CreateObject(type=3, object={"userName": "default", "employeeID": "x", "password": "p"}),
        UpdateObject(type=3, dbid=100, delta={"DBID": 4}),
        UpdateObject(type=3, dbid=999, delta={"firstName": "x"}),
        DeleteObject(type=3, dbid=100),
    ],
)
async def test_a_refusal_changes_nothing(url: str, request_: Any) -> None:
    hashed: list[str] = []
    async with running(url, hash_password=hashed.append) as (master, sink):
        with pytest.raises(ModelError):
            await master.write(request_, JANE)
        assert sink.position == Position(7, 0)
        assert (sink.published, hashed) == ([], [])
        assert_same(url, sink)
        (change,) = await master.write(skill("english"), JANE)
        assert (change.dbid, change.position.uen) == (101, 1)


async def test_many_writers_at_once_get_one_order(url: str) -> None:
    async with running(url) as (master, sink):
        done: list[Change] = []

        async def write(n: int) -> None:
            done.extend(await master.write(skill(f"skill {n}"), JANE))

        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(write, n)
        assert sorted(change.position.uen for change in done) == list(range(1, 21))
        assert sorted(change.dbid for change in done) == list(range(101, 121))
        assert [transaction[0].position.uen for transaction in sink.published] == list(range(1, 21))
        assert_same(url, sink)


async def test_cancelling_a_waiting_writer_writes_nothing_of_it(url: str) -> None:
    async with running(url) as (master, sink):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await master.write(skill("english"), JANE)
        assert sink.position.uen == 0
        assert_same(url, sink)


async def test_what_is_committed_is_published_though_its_caller_is_cancelled(url: str) -> None:
    async with running(url) as (master, sink):
        with anyio.CancelScope() as scope:
            sink.on_publish = scope.cancel  # arrives between the commit and the return
            await master.write(skill("english"), JANE)
            await anyio.lowlevel.checkpoint()
            pytest.fail("not cancelled")
        async with anyio.create_task_group() as tasks:  # arrives at some point of the commit
            tasks.start_soon(master.write, skill("french"), JANE)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert_same(url, sink)
        await master.write(skill("german"), JANE)
        assert_same(url, sink)


# --- restart -------------------------------------------------------------------------------------


async def test_a_restart_continues_numbers_and_keeps_the_history(url: str) -> None:
    async with running(url, epoch=7) as (master, first):
        await master.write(skill("english"), JANE)
        await master.write(CreateObject(type=7, object={"name": "North"}), JANE)
        await master.write(UpdateObject(type=3, dbid=100, delta={"firstName": "D"}), JANE)
        await master.write(DeleteObject(type=13, dbid=101), JANE)
    async with running(url, epoch=8) as (master, second):
        assert second.position == Position(8, first.position.uen)
        assert second.epochs == [Epoch(7, 1), Epoch(8, first.position.uen + 1)]
        assert second.log() == first.log()
        assert second.replica.log.floor.uen == 0
        (change,) = await master.write(skill("english"), JANE)
        assert change.dbid == 102
        assert change.position == Position(8, first.position.uen + 1)
        assert_same(url, second)


# --- idempotency keys ----------------------------------------------------------------------------


async def test_a_repeated_key_is_answered_and_not_carried_out_again(url: str) -> None:
    async with running(url) as (master, sink):
        (first,) = await master.write(skill("english", key="k"), JANE)
        await master.write(skill("french"), JANE)
        assert await master.write(skill("english", key="k"), JANE) == [first]
        assert (sink.position.uen, master.statistics().repeated_keys) == (2, 1)
    async with running(url) as (master, sink):
        assert await master.write(skill("english", key="k"), JANE) == [first]
        assert sink.position.uen == 2


async def test_a_repeated_deletion_is_answered_at_the_end_of_its_transaction(url: str) -> None:
    async with running(url) as (master, _):
        tenant = await master.write(CreateObject(type=7, object={"name": "North"}, key="c"), JANE)
        (again,) = await master.write(CreateObject(type=7, object={"name": "North"}, key="c"), JANE)
        assert (again.dbid, again.object, again.last) == (101, tenant[0].object, True)
        assert again.position == tenant[-1].position
        changes = await master.write(DeleteObject(type=7, dbid=101, key="d"), JANE)
        assert await master.write(DeleteObject(type=7, dbid=101, key="d"), JANE) == [changes[-1]]


async def test_a_key_belongs_to_one_author_and_one_request(url: str) -> None:
    async with running(url) as (master, _):
        await master.write(UpdateObject(type=3, dbid=100, delta={"firstName": "A"}, key="k"), JANE)
        for request in (skill("x", key="k"), UpdateObject(type=3, dbid=101, delta={"firstName": "A"}, key="k")):
            with pytest.raises(ServerError, match="used before for another request") as caught:
                await master.write(request, JANE)
            assert caught.value.code is ErrorCode.WRONG_API_PARAMETERS
        (change,) = await master.write(skill("x", key="k"), Author("joe", "sce"))
        assert change.position.uen == 2


async def test_the_key_of_a_refused_write_can_be_used_again(url: str) -> None:
    async with running(url) as (master, _):
        with pytest.raises(ModelError):
            await master.write(skill("", key="k"), JANE)
        (change,) = await master.write(skill("english", key="k"), JANE)
        assert change.dbid == 101


# --- passwords -----------------------------------------------------------------------------------


async def test_passwords_are_hashed_stored_beside_the_object_and_forgotten_with_it(url: str) -> None:
    person = {"userName": "joe", "employeeID": "1", "password": "secret"}
    async with running(url) as (master, sink):
        (change,) = await master.write(CreateObject(type=3, object=person), JANE)
        assert master.credentials[3, change.dbid] == "hash of secret"
        assert b"secret" not in change.frame
        await master.write(UpdateObject(type=3, dbid=change.dbid, delta={"password": ""}), JANE)
        await master.write(UpdateObject(type=9, dbid=99, delta={"password": "app"}), JANE)
        assert all(b"secret" not in frame for frame in sink.log())
    async with running(url) as (master, _):
        assert dict(master.credentials) == {
            (3, 100): "hash of the first",
            (3, change.dbid): "hash of ",
            (9, 99): "hash of app",
        }
        await master.write(DeleteObject(type=3, dbid=change.dbid), JANE)
        assert (3, change.dbid) not in master.credentials
    async with running(url) as (master, _):
        assert (3, change.dbid) not in master.credentials


# --- the database fails --------------------------------------------------------------------------


class Trouble:
    """Makes the store fail at chosen moments, on the real database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits: list[str] = []
        self.heads: list[bool] = []
        commit, was_committed = Store.commit, Store.was_committed

        def failing_commit(store: Store, *args: Any, **kwargs: Any) -> None:
            what = self.commits.pop(0) if self.commits else ""
            if what == "before":
                raise StoreError("the database failed before the commit")
            commit(store, *args, **kwargs)
            if what == "after":
                raise StoreError("the answer to the commit was lost")

        def failing_to_tell(store: Store, epoch: int, uen: int) -> bool:
            if self.heads and self.heads.pop(0):
                raise StoreError("the database cannot be reached", code=ErrorCode.DB_ERROR)
            return was_committed(store, epoch, uen)

        monkeypatch.setattr(Store, "commit", failing_commit)
        monkeypatch.setattr(Store, "was_committed", failing_to_tell)


async def test_a_commit_that_failed_is_an_error_and_nothing_is_visible(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = Trouble(monkeypatch)
    async with running(url) as (master, sink):
        trouble.commits = ["before"]
        with pytest.raises(StoreError, match="before the commit"):
            await master.write(skill("english"), JANE)
        assert (sink.published, master.statistics().failed_commits) == ([], 1)
        (change,) = await master.write(skill("english"), JANE)
        assert (change.dbid, change.position.uen) == (101, 1)
        assert_same(url, sink)


async def test_a_commit_whose_answer_was_lost_is_found_out_and_published(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = Trouble(monkeypatch)
    async with running(url) as (master, sink):
        trouble.commits, trouble.heads = ["after"], [True, True]
        (change,) = await master.write(skill("english"), JANE)
        assert sink.published == [[change]]
        assert_same(url, sink)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_outcome_that_stays_unknown_is_said_so_and_settled_before_the_next_write(
    url: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    trouble = Trouble(monkeypatch)
    async with running(url, settle_s=0.0) as (master, sink):
        trouble.commits, trouble.heads = [moment], [True, True]
        with pytest.raises(ServerError, match="it is unknown whether this was written") as caught:
            await master.write(skill("english"), JANE)
        assert caught.value.code is ErrorCode.DB_ERROR
        with pytest.raises(StoreError, match="cannot be reached"):
            await master.write(skill("french"), JANE)
        assert sink.published == []
        (change,) = await master.write(skill("german"), JANE)
        assert change.dbid == (102 if moment == "after" else 101)
        assert len(sink.published) == (2 if moment == "after" else 1)
        assert_same(url, sink)


# --- everything at once --------------------------------------------------------------------------

names = st.sampled_from("abcdef")
dbids = st.integers(99, 106)
skills = st.lists(st.fixed_dictionaries({"skillDBID": dbids, "level": st.integers(0, 3)}), max_size=2)
requests = st.one_of(
    st.builds(lambda n: skill(n), names),
    st.builds(lambda n: CreateObject(type=7, object={"name": n}), names),
    st.builds(
        lambda n, s, t, f: CreateObject(
            type=3, object={"userName": n, "employeeID": n, "tenantDBID": t, "agentInfo": {"skillLevels": s}}, folder=f
        ),
        names,
        skills,
        st.sampled_from([1, 1, 101]),
        st.sampled_from([0, 0, 3, 101, 130]),
    ),
    st.builds(
        lambda n, p: CreateObject(type=5, object={"groupInfo": {"name": n, "tenantDBID": 1}, "agentDBIDs": p}),
        names,
        st.lists(dbids, max_size=3),
    ),
    st.builds(
        lambda n, f: CreateObject(type=22, object={"name": n}, folder=f), names, st.sampled_from([3, 13, 101, 102])
    ),
    st.builds(
        lambda t, d, a: UpdateObject(type=t, dbid=d, delta={"state": a}),
        st.sampled_from([3, 7, 13, 22]),
        dbids,
        st.sampled_from([1, 2]),
    ),
    st.builds(lambda d, n: UpdateObject(type=3, dbid=d, delta={"userName": n, "firstName": n}), dbids, names),
    st.builds(
        lambda d, o: UpdateObject(type=22, dbid=d, delta={"objectIDs": {"added": [{"DBID": o, "type": 3}]}}),
        dbids,
        dbids,
    ),
    st.builds(lambda d, p: UpdateObject(type=22, dbid=d, delta={"parentID": {"DBID": p}}), dbids, dbids),
    st.builds(lambda d, p: UpdateObject(type=5, dbid=d, delta={"agentDBIDs": {"added": [p]}}), dbids, dbids),
    st.builds(lambda t, d: DeleteObject(type=t, dbid=d), st.sampled_from([3, 5, 7, 13, 22]), dbids),
)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
def test_whatever_is_asked_database_and_cache_agree(
    tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> None:
    outcomes = {"done": 0, "refused": 0}

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(requests, min_size=5, max_size=25))
    def check(batch: list[Any]) -> None:
        anyio.run(run, batch, backend=anyio_backend)

    async def run(batch: list[Any]) -> None:
        carrier.set(run_inline)
        url = sqlite_url(tmp_path_factory.mktemp("run") / "config.db")
        create_configuration(url, well_known_objects(), release="1")
        async with running(url, epoch=1) as (master, sink):
            for request in batch:
                before = sink.position
                try:
                    changes = await master.write(request, JANE)
                    outcomes["done"] += 1
                    assert changes[0].position.uen == before.uen + 1
                except ModelError:
                    outcomes["refused"] += 1
                    assert sink.position == before
                assert_same(url, sink)
                assert_no_dangling(sink)
        async with running(url, epoch=2) as (_, again):
            assert again.log() == sink.log()
            assert {n: again.cache.digest(n) for n in SCHEMA.types} == {n: sink.cache.digest(n) for n in SCHEMA.types}

    check()
    assert min(outcomes.values()) > 30, outcomes


def assert_no_dangling(sink: Sink) -> None:
    from csproxy.core.model.links import references

    cache = sink.cache
    for number, kind in SCHEMA.types.items():
        for dbid in cache.dbids(number):
            for reference in references(kind, cache.stored(number, dbid)):
                assert cache.get(reference.target, reference.dbid) is not None, (kind, dbid, reference)
            folder = cache.folder_of(number, dbid)
            assert not folder or cache.get(22, folder) is not None, (kind, dbid, folder)
