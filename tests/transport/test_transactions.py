"""Transactions of clients, down to the database: all of it or nothing, whatever happens in between."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from test_database import JANE, Trouble, assert_same, make, running, skill, url

from csproxy.core.changes import Action, Position
from csproxy.core.model import CfgAgentGroup, CfgPerson, CfgSkill
from csproxy.core.persistence.store import Store
from csproxy.core.sessions import Account, Author
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.errors import ErrorCode, ModelError, ServerError, StoreError, UniquenessViolationError
from csproxy.testing.memory import MemoryNetwork
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_writes import CreateWrite, DeleteWrite, UpdateWrite
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.wire.writes import (
    AppliedChange,
    ApplyTransaction,
    TransactionApplied,
    WriteOutcome,
    WriteOutcomeRead,
)

__all__ = ["url"]

pytestmark = pytest.mark.anyio


def new_skill(name: str, **more: Any) -> RequestedChange:
    return RequestedChange(message=Verb.CREATE, type=13, object={"name": name, "tenantDBID": 1, **more})


def new_person(name: str, **more: Any) -> RequestedChange:
    return RequestedChange(message=Verb.CREATE, type=3, object={"userName": name, "employeeID": name, **more})


# --- at the master -------------------------------------------------------------------------------


async def test_a_transaction_is_stored_published_and_answered_as_one(url: str) -> None:
    levels = [{"skillDBID": -1, "level": 5}]
    request = ApplyTransaction(
        changes=[
            new_skill("english", DBID=-1),
            new_person("joe", agentInfo={"skillLevels": levels}),
            RequestedChange(message=Verb.UPDATE, type=3, dbid=100, delta={"firstName": "D"}),
        ]
    )
    async with running(url) as (master, sink):
        position, applied = await master.apply(request, JANE)
        assert position == Position(7, 3) == sink.position
        assert [(change.action, change.type, change.dbid) for change in applied.changes] == [
            (Action.CREATED, 13, 101),
            (Action.CREATED, 3, 101),
            (Action.UPDATED, 3, 100),
        ]
        (published,) = sink.published
        assert [change.last for change in published] == [False, False, True]
        assert_same(url, sink)
        assert master.statistics().transactions == 1
    async with running(url, epoch=8) as (_, again):
        assert again.log() == sink.log()


@pytest.mark.parametrize("size", [2, 100, 1000])
async def test_a_transaction_that_fails_in_its_last_change_leaves_nothing(url: str, size: int) -> None:
    async with running(url) as (master, sink):
        await master.write(skill("taken"), JANE)
        before = sink.position, sink.cache.counts(), len(sink.published)
        changes = [*(new_skill(f"skill {n}") for n in range(size - 1)), new_skill("taken")]
        with pytest.raises(ModelError, match=rf"change {size - 1}: skill 101 'taken' has the same key") as caught:
            await master.apply(ApplyTransaction(changes=changes, key="k"), JANE)
        assert (caught.value.code, caught.value.property_name) == (ErrorCode.UNIQUENESS_VIOLATION, "name")
        assert (sink.position, sink.cache.counts(), len(sink.published)) == before
        assert_same(url, sink)
        _, applied = await master.apply(ApplyTransaction(changes=changes[:1], key="k"), JANE)
        assert applied.changes[0].dbid == 102  # no number is lost either, nor is the key


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_that_fails_leaves_nothing_or_all(
    url: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    trouble = Trouble(monkeypatch)
    request = ApplyTransaction(changes=[new_skill("a"), new_skill("b")])
    async with running(url) as (master, sink):
        trouble.commits = [moment]
        if moment == "before":
            with pytest.raises(StoreError, match="before the commit"):
                await master.apply(request, JANE)
        else:
            assert (await master.apply(request, JANE))[0].uen == 2
        assert sink.position.uen == (0 if moment == "before" else 2)
        assert_same(url, sink)


async def test_a_repeated_key_gives_the_first_answer(url: str) -> None:
    request = ApplyTransaction(changes=[new_skill("a"), new_skill("b")], key="k")
    async with running(url) as (master, sink):
        first = await master.apply(request, JANE)
        assert await master.apply(request, JANE) == first
        assert sink.position.uen == 2
        with pytest.raises(ServerError, match="used before for another request: a transaction"):
            await master.write(skill("c", key="k"), JANE)
        await master.write(skill("c", key="l"), JANE)
        with pytest.raises(ServerError, match="used before for another request: CREATED of object 103 of type 13"):
            await master.apply(ApplyTransaction(changes=[new_skill("d")], key="l"), JANE)
    async with running(url) as (master, _):
        assert await master.apply(request, JANE) == first


async def test_the_outcome_of_a_key_can_be_asked_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = Trouble(monkeypatch)
    request = ApplyTransaction(changes=[new_skill("a"), new_skill("b")], key="k")
    async with running(url, settle_s=0.0) as (master, sink):
        assert await master.outcome(WriteOutcome(key="k"), JANE) == WriteOutcomeRead()
        trouble.commits, trouble.heads = ["after"], [True]
        with pytest.raises(ServerError, match="it is unknown whether this was written"):
            await master.apply(request, JANE)
        made = [AppliedChange(action=74, type=13, dbid=101), AppliedChange(action=74, type=13, dbid=102)]
        known = await master.outcome(WriteOutcome(key="k"), JANE)
        assert known == WriteOutcomeRead(known=True, epoch=7, uen=2, changes=made)
        assert sink.position.uen == 2
        await master.write(skill("c", key="l"), JANE)
        known = await master.outcome(WriteOutcome(key="l"), JANE)
        assert known.changes == [AppliedChange(action=74, type=13, dbid=103)]
        assert not (await master.outcome(WriteOutcome(key="k"), Author("joe", "sce"))).known


async def test_an_object_that_changes_twice_is_stored_as_it_is_in_the_end(url: str) -> None:
    folder = RequestedChange(message=Verb.CREATE, type=22, object={"DBID": -1, "name": "Team"}, folder=3)
    changes = [
        folder,
        new_person("joe", DBID=-1),
        RequestedChange(
            message=Verb.UPDATE, type=22, dbid=-1, delta={"objectIDs": {"added": [{"DBID": -1, "type": 3}]}}
        ),
        RequestedChange(message=Verb.UPDATE, type=3, dbid=-1, delta={"firstName": "Joe"}),
        new_skill("gone", DBID=-1),
        RequestedChange(message=Verb.DELETE, type=13, dbid=-1),
        RequestedChange(
            message=Verb.UPDATE, type=22, dbid=-1, delta={"objectIDs": {"added": [{"DBID": 100, "type": 3}]}}
        ),
    ]
    async with running(url) as (master, sink):
        await master.apply(ApplyTransaction(changes=changes), JANE)
        assert_same(url, sink)
        assert sink.cache.folder_of(3, 100) == sink.cache.folder_of(3, 101) == 101
    async with running(url, epoch=8) as (master, again):
        assert again.log() == sink.log()
        assert again.cache.count(13) == 0
        assert (await master.write(skill("next"), JANE))[0].dbid == 102


async def test_each_password_is_hashed_for_its_object_and_several_at_a_time(url: str) -> None:
    changes = [
        new_person("a", DBID=-1, password="same"),
        new_person("b", password="same"),
        RequestedChange(message=Verb.UPDATE, type=3, dbid=100, delta={"password": "new"}),
        RequestedChange(message=Verb.DELETE, type=3, dbid=-1),
    ]
    hashed: list[str] = []
    both = threading.Barrier(2, timeout=30)

    def hash_password(text: str) -> str:
        hashed.append(text)
        both.wait()
        return f"hash of {text}"

    async with running(url, hash_password=hash_password) as (master, sink):
        await master.apply(ApplyTransaction(changes=changes), JANE)
        assert sorted(hashed) == ["new", "same"]
        assert dict(master.credentials) == {(3, 102): "hash of same", (3, 100): "hash of new"}
        assert all(b"same" not in frame for frame in sink.log())
        with pytest.raises(ModelError, match="change 1"):
            await master.apply(ApplyTransaction(changes=[changes[2], new_person("b", password="x")]), JANE)
        assert len(hashed) == 2


def new_code(name: str, **more: Any) -> RequestedChange:
    code = {"name": name, "code": name, "type": 9, "tenantDBID": 1, "subcodes": subcodes(""), **more}
    return RequestedChange(message=Verb.CREATE, type=14, object=code)


def with_more_subcodes(prefix: str) -> RequestedChange:
    return RequestedChange(message=Verb.UPDATE, type=14, dbid=-1, delta={"subcodes": {"added": subcodes(prefix)}})


def subcodes(prefix: str) -> list[dict[str, str]]:
    return [{"name": f"{prefix}{n}", "code": "c"} for n in range(400)]


@pytest.mark.parametrize(
    ("changes", "pauses"),
    [
        ([new_skill(f"s{n}") for n in range(999)], 999 // 40),
        ([new_code(f"c{n}") for n in range(20)], 10),
        ([new_code("c", DBID=-1), *[with_more_subcodes(f"{n}-") for n in range(20)]], 10),
    ],
)
async def test_others_get_their_turn_while_a_large_transaction_is_planned(
    url: str, changes: list[RequestedChange], pauses: int
) -> None:
    turns = 0
    done = False

    async def count() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with running(url) as (master, _), anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        with pytest.raises(ModelError, match=f"^change {len(changes)}: "):  # so that only the planning is counted
            await master.apply(ApplyTransaction(changes=[*changes, new_skill("")]), JANE)
        done = True
    assert turns >= pauses


KILLED = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {root!r}]
import anyio
from test_database import JANE, running
from test_transactions import new_skill
from csproxy.core.persistence import store
from csproxy.transport.wire.writes import ApplyTransaction

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with running({url!r}) as (master, sink):
        await master.apply(ApplyTransaction(changes=[new_skill("first")]), JANE)
        setattr(store, {moment!r}, die)
        await master.apply(ApplyTransaction(changes=[new_skill(f"s{{n}}") for n in range(500)]), JANE)

anyio.run(main)
"""


@pytest.mark.parametrize("moment", ["replace_objects", "replace_counters", "change_row", "key_rows"])
async def test_a_master_killed_in_the_middle_of_a_transaction_leaves_nothing_of_it(url: str, moment: str) -> None:
    here = Path(__file__).parent
    program = KILLED.format(tests=str(here), root=str(here.parents[1]), url=url, moment=moment)
    if moment == "key_rows":  # the last step before the commit: only a transaction with a key gets there
        program = program.replace("range(500)])", "range(500)], key='k')")
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1])}
    with anyio.fail_after(60):
        ended = await anyio.run_process([sys.executable, "-c", program], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    with Store.open(url, reading=True) as store:
        assert store.head == 1
        assert len([record for part in store.history() for record in part]) == 1
        assert sum(len(part.dbids) for part in store.load() if part.type == 13) == 1
    async with running(url, epoch=8) as (master, _):
        _, applied = await master.apply(ApplyTransaction(changes=[new_skill("next")]), JANE)
        assert applied == TransactionApplied(changes=[AppliedChange(action=74, type=13, dbid=102)])


# --- from the client -----------------------------------------------------------------------------


class Anybody:
    """Lets every user in."""

    async def authenticate(self, user: str, password: str) -> Account:
        return Account(person_dbid=100, user=user)


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[tuple[ConfigurationServer, MemoryNetwork]]:
    """A master on a database, and the network where it listens."""
    async with MemoryNetwork() as network:
        server = ConfigurationServer(
            role="master",
            name="confserv",
            authenticator=Anybody(),
            writer=ReadOnlyWriter("starting"),
            random=lambda: 0.5,
            random_bytes=os.urandom,
        )
        async with server, make(url, server) as master:
            server.writer = master
            network.listen("master", 2020, server.connect)
            yield server, network


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[list[ConfigClient]]:
    """Two clients of a master on a database."""
    async with serving(url) as (_, network):
        opened = [ConfigClient("master", 2020, user="default", connector=network.connector(n)) for n in "ab"]
        async with opened[0], opened[1]:
            yield opened


async def test_a_client_applies_writes_and_gets_their_dbids(url: str) -> None:
    async with clients(url) as (client, other):
        async with other.subscribe() as changes:
            dbids = await client.apply(
                [
                    CreateWrite(CfgSkill, {"DBID": -1, "name": "english", "tenantDBID": 1}),
                    CreateWrite("person", {"userName": "joe", "employeeID": "1", "agentInfo": {}}),
                    UpdateWrite(CfgPerson, 100, {"firstName": "D"}),
                    CreateWrite(CfgAgentGroup, {"DBID": -1, "groupInfo": {"name": "g", "tenantDBID": 1}}),
                    DeleteWrite("agentGroup", -1),
                ]
            )
            assert dbids == [101, 101, 100, 101, 101]
            seen = [await anext(changes) for _ in range(5)]
            assert [(change.action, change.last) for change in seen] == [
                (Action.CREATED, False),
                (Action.CREATED, False),
                (Action.UPDATED, False),
                (Action.CREATED, False),
                (Action.DELETED, True),
            ]
        assert (await client.get(CfgSkill, name="english", tenantDBID=1)).DBID == 101
        assert client.position.uen == 5


async def test_a_client_takes_changes_as_they_are_sent_too(url: str) -> None:
    async with clients(url) as (client, _):
        assert await client.apply([new_skill("a"), CreateWrite(CfgSkill, {"name": "b", "tenantDBID": 1})]) == [101, 102]
        assert (await client.get(CfgSkill, name="a", tenantDBID=1)).DBID == 101


async def test_a_refusal_names_the_change_and_nobody_is_told_anything(url: str) -> None:
    async with clients(url) as (client, other):
        async with other.subscribe() as changes:
            with pytest.raises(UniquenessViolationError, match=r"^change 1: ") as caught:
                await client.apply([CreateWrite(CfgSkill, {"name": "a", "tenantDBID": 1})] * 2)
            assert caught.value.object_type == 13
            await client.apply([CreateWrite(CfgSkill, {"name": "b", "tenantDBID": 1})])
            change = await anext(changes)
            assert (change.dbid, change.position.uen) == (101, 1)
        with pytest.raises(ServerError, match="at least one change"):
            await client.apply([])


async def test_a_client_asks_what_became_of_a_write(url: str) -> None:
    async with clients(url) as (client, _):
        assert await client.outcome("k") is None
        dbids = await client.apply([CreateWrite(CfgSkill, {"name": n, "tenantDBID": 1}) for n in "ab"], key="k")
        assert await client.outcome("k") == dbids == [101, 102]


async def test_a_transaction_waits_for_the_writes_before_it(url: str) -> None:
    async with clients(url) as (client, _):
        results: list[Any] = []

        async def create(n: int) -> None:
            results.append((await client.apply([CreateWrite(CfgSkill, {"name": f"s{n}", "tenantDBID": 1})]))[0])

        async with anyio.create_task_group() as tasks:
            for n in range(10):
                tasks.start_soon(create, n)
                tasks.start_soon(client.create, CfgSkill(name=f"t{n}", tenantDBID=1))
        assert len(set(results)) == 10
        assert await client.count(CfgSkill) == 20


async def test_a_server_that_cannot_write_says_so(url: str) -> None:
    with pytest.raises(ServerError, match="a proxy") as caught:
        await ReadOnlyWriter("a proxy").apply(ApplyTransaction(changes=[]), JANE)
    assert caught.value.code is ErrorCode.ACCESS_DENIED
    with pytest.raises(ServerError, match="a proxy"):
        await ReadOnlyWriter("a proxy").outcome(WriteOutcome(key="k"), JANE)
