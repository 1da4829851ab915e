"""Writes that wait for the database share a commit, and nobody notices but by the time it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.from_thread
import pytest
from test_database import JANE, Trouble, assert_same, running, skill, url
from test_transactions import serving

from csproxy.core.changes import Change
from csproxy.core.persistence.store import Store
from csproxy.errors import ModelError, ServerError, StoreError
from csproxy.transport.connection import Connection
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.database_queue import MAX_TOGETHER
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject, WriteRequest

__all__ = ["url"]

pytestmark = pytest.mark.anyio


def rename(dbid: int, name: str, **more: Any) -> UpdateObject:
    return UpdateObject(type=13, dbid=dbid, delta={"name": name}, **more)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many transactions each commit had."""
    counts: list[int] = []
    commit = Store.commit

    def counting(store: Store, *batches: Any, **more: Any) -> None:
        counts.append(len(batches))
        commit(store, *batches, **more)

    monkeypatch.setattr(Store, "commit", counting)
    return counts


async def make_skills(master: DatabaseMaster, count: int) -> None:
    for n in range(count):
        await master.write(skill(f"skill {n}"), JANE)


async def write_all(master: DatabaseMaster, requests: Sequence[WriteRequest]) -> list[Sequence[Change] | Exception]:
    """Write at the same time; what came of each."""
    results: list[Any] = [None] * len(requests)

    async def write(n: int, request: WriteRequest) -> None:
        try:
            results[n] = await master.write(request, JANE)
        except (ModelError, StoreError) as e:
            results[n] = e

    async with anyio.create_task_group() as tasks, master.standing_still():  # until all of them wait
        for n, request in enumerate(requests):
            tasks.start_soon(write, n, request)
        await anyio.wait_all_tasks_blocked()
    return results


async def test_updates_that_wait_share_a_commit_and_are_transactions_of_their_own(url: str, commits: list[int]) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 5)
        del commits[:]
        results = await write_all(master, [rename(101 + n, f"new {n}") for n in range(5)])
        assert commits == [5]
        assert sorted(change.position.uen for (change,) in results) == [6, 7, 8, 9, 10]  # type: ignore[misc]
        assert all(change.last for (change,) in results)  # type: ignore[misc]
        assert [len(transaction) for transaction in sink.published[5:]] == [1] * 5
        assert_same(url, sink)
    async with running(url, epoch=8) as (_, again):
        assert again.log() == sink.log()


async def test_one_object_changed_by_several_is_as_the_last_left_it(url: str, commits: list[int]) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 1)
        results = await write_all(master, [rename(101, f"new {n}") for n in range(4)])
        assert commits[-1] == 4
        last = max((change for (change,) in results), key=lambda change: change.position.uen)  # type: ignore[misc]
        assert sink.cache.stored(13, 101)["name"] == last.delta["name"]
        assert_same(url, sink)


async def test_each_is_judged_by_what_those_before_it_have_changed(url: str, commits: list[int]) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 3)
        results = await write_all(master, [rename(101 + n, "the same") for n in range(3)])
        refused = [result for result in results if isinstance(result, ModelError)]
        assert len(refused) == 2
        assert sink.position.uen == 4
        assert_same(url, sink)


async def test_a_creation_is_the_last_of_its_commit(url: str, commits: list[int]) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 2)
        del commits[:]
        await write_all(master, [skill("another"), rename(101, "a"), rename(102, "b"), skill("one more")])
        assert sum(commits) == 4
        assert_same(url, sink)


async def test_a_group_is_bounded(url: str, commits: list[int]) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 1)
        await write_all(master, [rename(101, f"new {n}") for n in range(MAX_TOGETHER + 3)])
        assert commits == [1, MAX_TOGETHER, 3]
        assert_same(url, sink)


async def test_a_key_that_comes_twice_at_once_is_carried_out_once(url: str) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 1)
        first, second = await write_all(master, [rename(101, "new", key="k"), rename(101, "new", key="k")])
        assert first == second
        assert sink.position.uen == 2
        assert master.statistics().repeated_keys == 1
        assert_same(url, sink)


async def test_after_a_shared_commit_that_failed_each_is_tried_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = Trouble(monkeypatch)
    async with running(url) as (master, sink):
        await make_skills(master, 3)
        trouble.commits = ["before", "", "before", ""]
        results = await write_all(master, [rename(101 + n, f"new {n}") for n in range(3)])
        assert sorted(isinstance(result, StoreError) for result in results) == [False, False, True]
        assert sink.position.uen == 5
        assert_same(url, sink)


async def test_a_shared_commit_whose_answer_was_lost_is_found_out_and_published(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = Trouble(monkeypatch)
    async with running(url) as (master, sink):
        await make_skills(master, 3)
        trouble.commits, trouble.heads = ["after"], [True, True]
        results = await write_all(master, [rename(101 + n, f"new {n}") for n in range(3)])
        assert sorted(change.position.uen for (change,) in results) == [4, 5, 6]  # type: ignore[misc]
        assert_same(url, sink)


async def test_one_that_is_cancelled_while_it_waits_is_not_written(url: str) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 2)
        async with anyio.create_task_group() as tasks, master.standing_still():
            cancelled = anyio.CancelScope()

            async def write() -> None:
                with cancelled:
                    await master.write(rename(101, "not this"), JANE)

            tasks.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(master.write, rename(102, "this"), JANE)
            await anyio.wait_all_tasks_blocked()
            cancelled.cancel()
            await anyio.wait_all_tasks_blocked()
        assert sink.cache.stored(13, 101)["name"] == "skill 0"
        assert sink.cache.stored(13, 102)["name"] == "this"
        assert_same(url, sink)


async def test_those_that_are_cancelled_while_they_are_written_end_when_that_is_published(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes = [anyio.CancelScope(), anyio.CancelScope()]
    commit = Store.commit

    def cancelling(store: Store, *batches: Any, **more: Any) -> None:
        for scope in scopes:
            anyio.from_thread.run_sync(scope.cancel)
        commit(store, *batches, **more)

    async with running(url) as (master, sink):
        await make_skills(master, 2)
        monkeypatch.setattr(Store, "commit", cancelling)
        ended_at: list[int] = []

        async def write(n: int) -> None:
            with scopes[n]:
                try:
                    await master.write(rename(101 + n, f"new {n}"), JANE)
                finally:
                    ended_at.append(sink.position.uen)

        async with anyio.create_task_group() as tasks, master.standing_still():
            tasks.start_soon(write, 0)
            tasks.start_soon(write, 1)
            await anyio.wait_all_tasks_blocked()
        assert ended_at == [4, 4]
        assert_same(url, sink)


async def test_an_enqueued_write_that_nobody_waits_for_is_withdrawn(url: str) -> None:
    async with running(url) as (master, sink):
        await make_skills(master, 2)
        first, second = (master.enqueue(rename(101 + n, f"new {n}"), JANE) for n in range(2))
        assert first is not None
        assert second is not None
        master.withdraw(first)
        (change,) = await master.finish(second)
        assert (change.dbid, sink.position.uen) == (102, 3)
        master.withdraw(second)  # it is done already
        assert master.enqueue(UpdateObject(type=3, dbid=100, delta={"password": "new"}), JANE) is None
        assert_same(url, sink)


async def test_what_one_client_sends_ahead_is_carried_out_and_answered_in_its_order(
    url: str, commits: list[int]
) -> None:
    async with serving(url) as (server, network):
        for n in range(3):
            await server.writer.write(skill(f"skill {n}"), JANE)
        del commits[:]
        connection = await Connection.open(await network.connector("a")("master", 2020), "a")
        await connection.register(RegisterClient(type=19, name="default", user="default"))
        requests: list[WriteRequest] = [rename(101, f"name {n}") for n in range(5)]
        requests[2] = rename(102, "skill 2")  # refused: the third one is called so
        requests.append(DeleteObject(type=13, dbid=103))
        requests.append(rename(102, "skill 2"))
        numbers = {CreateObject: MessageId.CREATE_OBJECT, DeleteObject: MessageId.DELETE_OBJECT}
        answers: list[int] = []
        exchanges = [
            connection.begin(
                numbers.get(type(request), MessageId.UPDATE_OBJECT),  # type: ignore[call-overload]
                request,
                on_answer=lambda frame: answers.append(frame.uen),
            )
            for request in requests
        ]
        failed = []
        for place, exchange in enumerate(exchanges):
            try:
                await exchange.wait(10)
            except ServerError:
                failed.append(place)
        assert failed == [2]
        assert answers == [4, 5, 6, 7, 8, 9]
        assert len(commits) < 6
        assert (server.cache.stored(13, 101) or {})["name"] == "name 4"
        assert (server.cache.stored(13, 102) or {})["name"] == "skill 2"
        await connection.aclose()
