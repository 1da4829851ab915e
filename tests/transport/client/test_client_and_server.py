"""The client against the real server, over memory networks with faults."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Action, Position
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import CfgApplication, CfgFolder, CfgPerson, CfgSkill
from csproxy.errors import (
    AccessDeniedError,
    ConnectionLostError,
    HistoryExpiredError,
    LoginIncorrectError,
    ObjectNotFoundError,
    RetryableError,
    TimedOutError,
    WrongParametersError,
)
from csproxy.testing import MemoryNetwork, Simulation, run_simulated
from csproxy.transport.client import ClientState, ConfigClient
from tests.transport.client.client_world import ClientWorld, make_world
from tests.transport.upstream.upstream_world import skill, until

on_all_loops = pytest.mark.anyio


@on_all_loops
async def test_reads_of_every_kind() -> None:
    async with make_world(skills=5) as world, world.client() as client:
        skills = await client.read(CfgSkill)
        assert [item.name for item in skills] == [f"Skill {1000 + n}" for n in range(5)]
        assert skills.position == world.master.server.position
        assert await client.count(CfgSkill) == 5
        assert (await client.get(CfgSkill, name="Skill 1003")).DBID == skills[3].DBID
        assert (await client.get(CfgSkill, skills[3].DBID)) == skills[3]
        assert (await client.get(CfgPerson, userName="default")).DBID == 100
        assert (await client.get(CfgApplication, name="default")).DBID == 100
        folders = await client.read(CfgFolder, name="Skills", object_path=True)
        assert any(len(folder.objectIDs) == 5 for folder in folders)
        assert len(folders.paths) == len(folders)
        assert [item async for part in client.iterate(CfgSkill) for item in part] == skills
        assert (await client.status())["role"] == "master"
        assert await client.authenticate("default", "secret") == 100
        with pytest.raises(LoginIncorrectError):
            await client.authenticate("default", "wrong")
        with pytest.raises(ObjectNotFoundError):
            await client.get(CfgSkill, 424242)
        with pytest.raises(WrongParametersError, match="shoe_size"):
            await client.read(CfgSkill, shoe_size=44)


@on_all_loops
async def test_writes_come_back_as_reads_and_as_changes() -> None:
    async with make_world() as world, world.client() as client, client.subscribe(CfgSkill) as changes:
        new = await client.create(CfgSkill(tenantDBID=1, name="New"))
        assert (await client.get(CfgSkill, new.DBID)).name == "New"
        position = await client.update(new, msgspec.structs.replace(new, name="Newer"))
        assert position == world.master.server.position == client.position
        await client.delete(CfgSkill, new.DBID)
        seen = [await anext(changes) for _ in range(3)]
        assert [change.action for change in seen] == [Action.CREATED, Action.UPDATED, Action.DELETED]
        assert seen[1].delta is not None
        assert seen[2].former == CfgSkill(DBID=new.DBID, tenantDBID=1, name="Newer")
        with pytest.raises(ObjectNotFoundError):
            await client.delete(CfgSkill, new.DBID)


@on_all_loops
async def test_a_wrong_password_and_a_wrong_application_are_refused_at_once() -> None:
    async with make_world() as world:
        with pytest.raises(LoginIncorrectError):
            await world.client(password="wrong", connect_wait_s=60).__aenter__()
        with pytest.raises(AccessDeniedError, match="nobody"):
            await world.client(application="nobody", connect_wait_s=60).__aenter__()


@on_all_loops
async def test_nothing_is_missed_between_a_read_and_its_subscription() -> None:
    async with make_world() as world, world.client() as client:
        skills = await client.read(CfgSkill)
        for n in range(3):
            world.master.create_skills(n)
        async with client.subscribe(CfgSkill, since=skills.position) as changes:
            world.master.create_skills(3)
            names = [change.object.name for change in [await anext(changes) for _ in range(4)]]  # type: ignore[union-attr]
            assert names == [f"Skill {n}" for n in range(4)]
        async with client.read_and_subscribe(CfgSkill) as (skills, changes):
            assert len(skills) == 9
            world.master.create_skills(4)
            assert (await anext(changes)).object is not None


@on_all_loops
async def test_a_short_loss_restores_the_session_and_a_long_one_makes_a_new_one() -> None:
    async with make_world() as world, world.client() as client, client.subscribe(CfgSkill) as changes:
        for n, lose in enumerate((lambda: world.network.cut("client"), world.restart)):
            lose()
            world.master.create_skills(n, 1)
            change = await anext(changes)
            assert change.object == CfgSkill(**skill(n))
            assert change.from_history
        assert client.statistics().restores == 1
        assert client.statistics().registrations == 2


@on_all_loops
async def test_a_gap_longer_than_the_history_is_told_and_reads_go_on() -> None:
    limits = WindowLimits(min_changes=2, min_age_s=0.0, max_bytes=600)
    async with (
        make_world(settings={"history": limits}) as world,
        world.client() as client,
        client.subscribe(CfgSkill) as changes,
    ):
        world.network.cut("client")
        for n in range(20):
            world.master.create_skills(n)
        with pytest.raises(HistoryExpiredError):
            await anext(changes)
        assert len(await client.read(CfgSkill)) == 25


@on_all_loops
async def test_a_flood_for_a_slow_consumer_stays_bounded_and_is_delivered_completely() -> None:
    async with make_world() as world, world.client() as client:
        async with client.subscribe(CfgSkill, buffer_bytes=2000) as changes:
            for n in range(500):
                world.master.create_skills(n)
            await until(lambda: changes.overflows > 0)
            got: list[int] = []
            while len(got) < 500:
                change = await anext(changes)
                got.append(change.dbid)
                if len(got) % 50 == 0:  # a consumer that asks for something in between must not wait for itself
                    assert await client.get(CfgSkill, change.dbid) == change.object
        assert got == [skill(n)["DBID"] for n in range(500)]


@on_all_loops
async def test_a_large_answer_arrives_in_parts_while_its_consumer_is_slow_and_others_are_served() -> None:
    async with make_world(skills=20_000) as world, world.client() as client:
        seen = 0
        async for part in client.iterate(CfgSkill):
            seen += len(part)
            if seen < 2000:
                assert (await client.get(CfgPerson, 100)).DBID == 100
        assert seen == 20_000


@on_all_loops
async def test_a_dead_connection_is_noticed_although_nobody_says_so() -> None:
    async with (
        make_world() as world,
        world.client(keep_alive=KeepAlive(timeout_s=0.02)) as client,
        client.subscribe(CfgSkill) as changes,
    ):
        world.network.half_open("master")
        world.master.create_skills(1)
        with anyio.fail_after(5):
            assert (await anext(changes)).dbid == skill(1)["DBID"]
        await until(lambda: client.statistics().reconnects >= 1)


@on_all_loops
async def test_a_server_that_stops_tells_where_the_stream_ends_and_the_client_goes_on_at_the_next() -> None:
    async with make_world() as world, world.client() as client, client.subscribe(CfgSkill) as changes:
        world.master.create_skills(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: world.master.server.stop(grace_s=1))
            assert (await anext(changes)).dbid == skill(1)["DBID"]
            await client.wait_for(ClientState.SUSPENDED)
        assert changes.position == world.master.server.position
        world.master.server._is_stopping = False
        with anyio.fail_after(10):
            await client.wait_for(ClientState.CONNECTED)
        assert len(await client.read(CfgSkill)) == 6


CALLS: list[Callable[[ConfigClient], Awaitable[Any]]] = [
    lambda client: client.read(CfgSkill),
    lambda client: client.get(CfgSkill, name="Skill 1001"),
    lambda client: client.count(CfgSkill),
    lambda client: client.status(),
    lambda client: client.authenticate("default", "secret"),
    lambda client: client.create(CfgSkill(tenantDBID=1, name="New")),
    lambda client: _subscribe(client),
    lambda client: _iterate(client),
]


async def _subscribe(client: ConfigClient) -> None:
    async with client.subscribe(CfgSkill, since=Position(11, 100)):
        await anyio.lowlevel.checkpoint()


async def _iterate(client: ConfigClient) -> None:
    async for _ in client.iterate(CfgSkill):
        await anyio.lowlevel.checkpoint()


@on_all_loops
@pytest.mark.parametrize(
    "call", CALLS, ids=["read", "get", "count", "status", "login", "create", "subscribe", "iterate"]
)
async def test_a_call_cancelled_at_any_await_leaves_the_client_usable(
    call: Callable[[ConfigClient], Awaitable[Any]],
) -> None:
    async with make_world(skills=2000) as world, world.client() as client:
        for turns in range(40):
            done = False

            async def run() -> None:
                nonlocal done
                await call(client)
                done = True

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            if done:
                break
        else:
            raise AssertionError("the call never came to its end")
        assert (await client.get(CfgPerson, 100)).DBID == 100
        assert client.statistics().reconnects == 0
        assert client.statistics().subscriptions == 0
        await until(lambda: world.master.server.statistics().subscriptions == 0)


@on_all_loops
async def test_entering_cancelled_at_any_await_leaves_no_connection() -> None:
    async with make_world() as world:
        for turns in range(60):
            entered = False

            async def run() -> None:
                nonlocal entered
                async with world.client():
                    entered = True

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            if entered:
                break
        else:
            raise AssertionError("the client never connected")
        await until(lambda: world.master.server.statistics().clients == 0)
        await until(lambda: world.master.server.statistics().unregistered == 0)


@pytest.mark.parametrize("seed", [*range(12), 109, 130])  # the last two found bugs once
def test_whatever_the_network_does_each_change_is_delivered_once_in_order_and_transactions_whole(seed: int) -> None:
    """P1 to P4, P6, P24: a schedule of transactions, cuts, silences and restarts; then quiet; then compare."""

    async def run(sim: Simulation) -> None:
        network = MemoryNetwork(sim.rng, latency_s=(0.0005, 0.05))
        async with (
            make_world(network=network, mark_interval_s=1.0) as world,
            world.client(
                random=sim.rng.random,
                random_bytes=sim.random_bytes,
                keep_alive=KeepAlive(timeout_s=2.0, remote_timeout_s=3.0),
                attempt_timeout_s=2.0,
                request_timeout_s=600.0,
                connect_wait_s=100.0,
            ) as client,
        ):
            await _check_run(sim, world, client)

    run_simulated(run, seed=seed, time_limit_s=2000)


async def _check_run(sim: Simulation, world: ClientWorld, client: ConfigClient) -> None:
    got: list[list[tuple[int, int]]] = []
    late: list[int] = []
    reads: list[Position] = []
    master = world.master
    start = master.server.position

    async def consume() -> None:
        async with client.subscribe(CfgSkill, since=start, buffer_bytes=3000) as changes:
            async for transaction in changes.transactions():
                assert [change.last for change in transaction][:-1] == [False] * (len(transaction) - 1)
                got.append([(change.position.uen, change.dbid) for change in transaction])
                await sim.sleep(sim.rng.choice((0.0, 0.0, 0.3)))

    async def consume_late() -> None:
        async with client.subscribe(CfgSkill, since=start) as changes:
            async for change in changes:
                late.append(change.position.uen)  # noqa: PERF401 - it is compared while it grows

    async def read() -> None:
        while True:
            with suppress(ConnectionLostError, TimedOutError, RetryableError):
                reads.append((await client.read(CfgSkill, dbid=1)).position)
            await sim.sleep(sim.rng.random())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        tasks.start_soon(read)
        await _disturb(sim.rng, world)
        tasks.start_soon(consume_late)
        await _disturb(sim.rng, world)
        world.network.heal()
        expected = [[(change.position.uen, change.dbid) for change in part] for part in master.history]
        with anyio.move_on_after(300):
            while got != expected or late != [uen for part in expected for uen, _ in part]:
                await sim.sleep(0.5)
        tasks.cancel_scope.cancel()
    assert got == expected
    assert late == [uen for part in expected for uen, _ in part]
    assert len(expected) >= 20, "a run without traffic proves nothing"
    assert [position.uen for position in reads] == sorted(position.uen for position in reads)


async def _disturb(rng: random.Random, world: ClientWorld) -> None:
    network = world.network
    next_skill = 10 * len(world.master.history)
    for _ in range(25):
        for _ in range(rng.randrange(3)):
            world.master.create_skills(next_skill, count := rng.randint(1, 5))
            next_skill += count
        fault = rng.random()
        if fault < 0.1:
            network.cut("client")
        elif fault < 0.15:
            network.half_open("master")
        elif fault < 0.2:
            network.partition("client", "master")
        elif fault < 0.4:
            network.heal()
        elif fault < 0.45:
            world.restart()
        await anyio.sleep(rng.random())
