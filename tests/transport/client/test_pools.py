"""A client of two pools: it leaves a dead site, comes back to the preferred one, and its streams do not notice."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import pytest

from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Action, Position
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import CfgSkill
from csproxy.core.wellknown import FIRST_FREE_DBID
from csproxy.errors import ConnectionLostError, ErrorCode, HistoryExpiredError, RetryableError, TimedOutError
from csproxy.testing import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.client import ClientState, ConfigClient
from csproxy.transport.client_states import ClientEvent
from csproxy.transport.client_subscriptions import ChangeStream
from csproxy.transport.near_cache import NearCache
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from tests.transport.client.pool_world import BACKUP, PREFERRED, PoolWorld, make_pools
from tests.transport.upstream.upstream_world import SKILL, skill, until

START = Position(11, 100)
OFF = KeepAlive()
WATCHED = FIRST_FREE_DBID + 1000


def simulate(
    scenario: Callable[[Simulation, PoolWorld], Coroutine[Any, Any, None]], *, seed: int = 1, **options: Any
) -> None:
    async def run(sim: Simulation) -> None:
        network = MemoryNetwork(sim.rng, latency_s=(0.0005, 0.02))
        async with make_pools(network, **options) as world:
            await scenario(sim, world)

    run_simulated(run, seed=seed, time_limit_s=20_000)


def at_site(client: ConfigClient, site: tuple[str, ...]) -> bool:
    return client.state is ClientState.CONNECTED and client.statistics().endpoint.split(":")[0] in site


async def take(stream: ChangeStream, got: list[tuple[int, int]]) -> None:
    async for change in stream:
        got.append((change.position.uen, change.dbid))  # noqa: PERF401 - it is compared while it grows


def expected(world: PoolWorld) -> list[tuple[int, int]]:
    return [(change.position.uen, change.dbid) for part in world.history for change in part]


# leaving


def test_a_client_begins_at_the_preferred_pool_and_leaves_it_when_all_of_it_is_dead() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        got: list[tuple[int, int]] = []
        async with world.client(random=sim.rng.random) as client, anyio.create_task_group() as tasks:
            assert at_site(client, PREFERRED)
            async with client.subscribe(CfgSkill, since=START) as stream:
                tasks.start_soon(take, stream, got)
                world.create_skills(1, 3)
                world.fail(*PREFERRED)
                world.create_skills(11, 3)
                await until(lambda: at_site(client, BACKUP), limit_s=10)
                world.create_skills(21, 3)
                await until(lambda: got == expected(world), limit_s=10)
            tasks.cancel_scope.cancel()
            assert client.statistics().registrations == 2
            assert await client.count(CfgSkill) == 5 + 9

    simulate(scenario)


def test_a_site_that_answers_nothing_is_left_after_one_attempt_at_each_member() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with world.client(random=sim.rng.random) as client:
            began = sim.now()
            for name in PREFERRED:
                world.network.partition(name)
            await until(lambda: at_site(client, BACKUP), limit_s=100)
            assert sim.now() - began <= 10 + 2 + 2 * 3 + 1, "keep-alive, random delay, two attempts"

    simulate(scenario)


def test_the_first_connection_is_made_at_the_backup_pool_if_the_preferred_one_is_dead() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        world.fail(*PREFERRED)
        async with world.client(random=sim.rng.random) as client:
            assert at_site(client, BACKUP)
        world.fail(*BACKUP)
        with pytest.raises(ConnectionLostError):
            async with world.client(random=sim.rng.random):
                pass

    simulate(scenario)


def test_a_short_loss_restores_the_session_at_the_same_member() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with world.client(random=sim.rng.random) as client:
            await sim.sleep(20)
            where = client.statistics().endpoint
            world.network.cut("client")
            await until(lambda: client.statistics().restores == 1, limit_s=3)
            assert client.statistics().endpoint == where

    simulate(scenario)


def test_a_member_that_stops_is_left_for_another_at_once() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with world.client(random=sim.rng.random) as client:
            await sim.sleep(20)
            was = client.statistics().endpoint.split(":")[0]
            await world[was].server.stop()
            await until(lambda: client.state is ClientState.CONNECTED, limit_s=3)
            assert at_site(client, tuple(name for name in PREFERRED if name != was))

    simulate(scenario)


def test_with_everything_dead_the_client_waits_between_rounds_and_comes_back() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        attempts: list[float] = []
        connector = world.network.connector("client")

        async def counting(host: str, port: int) -> Any:
            attempts.append(sim.now())
            return await connector(host, port)

        async with world.client(random=sim.rng.random, connector=counting) as client:
            await sim.sleep(20)
            attempts.clear()
            world.fail(*PREFERRED, *BACKUP)
            await sim.sleep(600)
            assert 4 * 600 / 12 - 4 <= len(attempts) <= 4 * 600 / 10 + 4
            world.start("y")
            await until(lambda: at_site(client, ("y",)), limit_s=13)

    simulate(scenario)


def test_three_hundred_clients_of_a_dead_site_are_all_served_in_time_and_none_reads_anew() -> None:
    """P17: the site dies under a stream of changes; everybody resumes at the other one."""

    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            got: list[list[tuple[int, int]]] = []
            for n in range(300):
                rng = random.Random(n)
                client = await stack.enter_async_context(world.client(random=rng.random, host=f"client{n}"))
                stream = await stack.enter_async_context(client.subscribe(CfgSkill, since=START))
                got.append([])
                tasks.start_soon(take, stream, got[-1])
            assert min(world.where()[name] for name in PREFERRED) > 90
            await sim.sleep(20)
            for n in range(10):
                world.create_skills(n)
            world.fail(*PREFERRED)
            for n in range(10, 20):
                world.create_skills(n)
            await sim.sleep(5)
            assert min(world.where()[name] for name in BACKUP) > 90
            assert sum(world.where()[name] for name in BACKUP) == 300
            assert all(each == expected(world) for each in got)

    simulate(scenario)


# coming back


async def leave_and_return(sim: Simulation, world: PoolWorld, client: ConfigClient) -> None:
    world.fail(*PREFERRED)
    await until(lambda: at_site(client, BACKUP), limit_s=20)
    world.start(*PREFERRED)


def test_a_client_returns_without_a_loss_once_the_preferred_pool_has_been_there_for_a_while() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        got: list[tuple[int, int]] = []
        states: list[ClientState] = []
        async with world.client(random=sim.rng.random) as client, anyio.create_task_group() as tasks:
            async with client.subscribe(CfgSkill, since=START) as stream:
                tasks.start_soon(take, stream, got)
                await leave_and_return(sim, world, client)
                began, number = sim.now(), 10_000
                client.observe(states.append)
                while not at_site(client, PREFERRED):
                    world.create_skills(number, 3)
                    number += 3
                    await sim.sleep(0.07)
                assert 90 <= sim.now() - began <= 60 * 1.5 + 60 * 2 + 1
                assert states == [ClientState.CONNECTED], "no loss, another server"
                await until(lambda: got == expected(world), limit_s=10)
                await until(lambda: sum(world.where()[name] for name in BACKUP) == 0, limit_s=40)
                world.create_skills(number, 3)
                await until(lambda: got == expected(world), limit_s=10)
            tasks.cancel_scope.cancel()
            assert client.statistics().switches == 1
            assert client.statistics().reconnects == 1

    simulate(scenario)


def test_a_client_that_is_to_stay_stays_until_its_connection_is_lost() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with world.client(random=sim.rng.random, return_after_s=None) as client:
            await leave_and_return(sim, world, client)
            await sim.sleep(3000)
            assert at_site(client, BACKUP)
            world.fail(*BACKUP)
            await until(lambda: at_site(client, PREFERRED), limit_s=10)

    simulate(scenario)


def test_two_hundred_clients_do_not_return_at_once() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        arrivals: list[float] = []
        async with AsyncExitStack() as stack:
            clients = []
            for n in range(200):
                rng = random.Random(n)
                client = await stack.enter_async_context(
                    world.client(random=rng.random, host=f"client{n}", keep_alive=OFF)
                )
                clients.append(client)
            world.fail(*PREFERRED)
            await sim.sleep(5)
            for client in clients:
                client.observe(lambda state: arrivals.append(sim.now()))
            world.start(*PREFERRED)
            began = sim.now()
            await sim.sleep(300)
            assert len(arrivals) == 200
            assert sum(world.where()[name] for name in PREFERRED) == 200
            assert max(sum(1 for each in arrivals if at <= each < at + 5) for at in arrivals) <= 30
            assert min(arrivals) - began >= 60

    simulate(scenario)


def test_a_preferred_member_that_is_behind_is_not_returned_to_before_it_has_caught_up() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        got: list[tuple[int, int]] = []
        async with (
            world.client(random=sim.rng.random, return_after_s=5.0) as client,
            anyio.create_task_group() as tasks,
        ):
            async with client.subscribe(CfgSkill, since=START) as stream:
                tasks.start_soon(take, stream, got)
                for name in PREFERRED:
                    world.hold_back(name)
                await leave_and_return(sim, world, client)
                world.create_skills(1, 5)
                await sim.sleep(200)
                assert at_site(client, BACKUP)
                assert got == expected(world)
                for name in PREFERRED:
                    world.catch_up(name)
                await until(lambda: at_site(client, PREFERRED), limit_s=100)
                world.create_skills(11, 5)
                await until(lambda: got == expected(world), limit_s=10)
            tasks.cancel_scope.cancel()
            assert client.statistics().reconnects == 1

    simulate(scenario)


def test_a_preferred_pool_without_the_history_is_not_returned_to() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        got: list[tuple[int, int]] = []
        async with (
            world.client(random=sim.rng.random, return_after_s=5.0) as client,
            anyio.create_task_group() as tasks,
        ):
            async with client.subscribe(CfgSkill, since=START) as stream:
                tasks.start_soon(take, stream, got)
                world.fail(*PREFERRED)
                await until(lambda: at_site(client, BACKUP), limit_s=20)
                forgotten = Position(77, 5000)
                for name in PREFERRED:
                    server = world[name].server
                    server.replica.log.locate = lambda position, *, epochs: refuse(forgotten)  # type: ignore[method-assign, assignment]
                world.start(*PREFERRED)
                await sim.sleep(200)
                assert at_site(client, BACKUP)
                world.create_skills(1, 5)
                await until(lambda: got == expected(world), limit_s=10)
            tasks.cancel_scope.cancel()

    def refuse(position: Position) -> int:
        raise HistoryExpiredError(ErrorCode.HISTORY_LOG_EXPIRED, f"the history begins after {position}")

    simulate(scenario)


def test_a_request_under_way_has_its_answer_from_the_server_that_was_asked() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async def work(connection: ServerConnection, frame: Frame) -> None:
            await anyio.sleep(20)
            connection.answer(frame, MessageId.SCHEMA_FILE_SENT)

        answers: list[int] = []
        async with (
            world.client(random=sim.rng.random, return_after_s=2.0, keep_alive=OFF) as client,
            anyio.create_task_group() as tasks,
        ):
            await leave_and_return(sim, world, client)
            connection = await client.connection()
            for name in BACKUP:
                world[name].override(
                    MessageId.SCHEMA_FILE, lambda connection, frame: connection.wait_for(frame, work, connection, frame)
                )

            async def ask() -> None:
                answers.append((await connection.request(MessageId.SCHEMA_FILE)).message)

            tasks.start_soon(ask)
            await until(lambda: at_site(client, PREFERRED), limit_s=15)
            assert not answers
            await until(lambda: len(answers) == 1, limit_s=25)
            await until(lambda: connection.error is not None, limit_s=2)

    simulate(scenario)


def test_a_near_cache_goes_on_following_when_its_client_returns() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with (
            world.client(random=sim.rng.random, return_after_s=5.0) as client,
            NearCache(client, [CfgSkill], random=sim.rng.random) as near,
        ):
            await leave_and_return(sim, world, client)
            await until(lambda: at_site(client, PREFERRED), limit_s=100)
            world.create_skills(1, 5)
            await until(lambda: near.count(CfgSkill) == 10, limit_s=10)
            assert near.statistics().loads == 1
            assert near.is_following

    simulate(scenario)


def test_the_events_of_a_leave_and_a_return() -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        seen: list[ClientEvent] = []
        async with (
            anyio.create_task_group() as tasks,
            world.client(random=sim.rng.random, return_after_s=5.0) as client,
        ):

            async def listen() -> None:
                async for event in client.events():
                    seen.append(event)  # noqa: PERF401 - one by one, as they come

            tasks.start_soon(listen)
            await sim.sleep(12)
            await leave_and_return(sim, world, client)
            await until(lambda: at_site(client, PREFERRED), limit_s=100)
        states = [event.state.value for event in seen]
        assert states == ["connected", "suspended", "connected", "connected", "closed"]
        assert [event.endpoint.split(":")[0] in PREFERRED for event in seen] == [True, True, False, True, True]
        assert isinstance(seen[1].reason, ConnectionLostError)
        assert 0 <= seen[1].age_s <= 5.1
        assert [event.reason is None for event in seen] == [True, False, True, True, True]

    simulate(scenario)


@pytest.mark.parametrize("step", range(0, 60, 3))
def test_leaving_at_any_moment_of_a_move_leaves_no_connection(step: int) -> None:
    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with (
            world.client(random=sim.rng.random, return_after_s=5.0) as client,
            client.subscribe(CfgSkill, since=START),
        ):
            await leave_and_return(sim, world, client)
            opened: list[Any] = []
            moving = anyio.Event()
            open_ = client._link.session.open

            async def opening(endpoint: Any) -> Any:
                opened.append(endpoint)
                if len(opened) == 2:  # the first was the look
                    moving.set()
                return await open_(endpoint)

            client._link.session.open = opening  # type: ignore[method-assign]
            await moving.wait()
            await sim.sleep(step * 0.005)
        await sim.sleep(1)
        assert world.where() == dict.fromkeys(world.members, 0)
        assert all(member.server.statistics().unregistered == 0 for member in world.members.values())

    simulate(scenario)


# whatever happens


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_the_pools_streams_are_exact_and_reads_never_go_back(seed: int) -> None:
    """P1 to P4, P9: members die, lag, and are parted; the client leaves and returns; then quiet; then compare."""

    async def scenario(sim: Simulation, world: PoolWorld) -> None:
        async with world.client(
            random=sim.rng.random, return_after_s=2.0, retry_delay_s=1.0, request_timeout_s=600.0, connect_wait_s=100.0
        ) as client:
            await check_run(sim, world, client)

    limits = WindowLimits(min_changes=100_000, min_age_s=0.0, max_bytes=1 << 30)
    simulate(scenario, seed=seed, mark_interval_s=1.0, settings={"history": limits})


async def check_run(sim: Simulation, world: PoolWorld, client: ConfigClient) -> None:
    rng = sim.rng
    streams: list[tuple[int, list[tuple[int, int]]]] = []
    reads: list[Position] = []

    async def consume(wanted: dict[str, Any], since: Position, pause_s: float) -> None:
        got: list[tuple[int, int]] = []
        streams.append((wanted.get("dbid", 0), got))
        async with client.subscribe(SKILL, since=since, buffer_bytes=3000, **wanted) as stream:
            async for change in stream:
                got.append((change.position.uen, change.dbid))
                if pause_s:
                    await sim.sleep(pause_s * rng.random())

    async def read() -> None:
        while True:
            with suppress(ConnectionLostError, TimedOutError, RetryableError):
                reads.append((await client.read(CfgSkill, dbid=1)).position)
            await sim.sleep(rng.random())

    async def come_and_go() -> None:
        while True:
            with suppress(ConnectionLostError, TimedOutError, RetryableError):
                async with client.subscribe(SKILL, since=START):
                    await sim.sleep(rng.random() * 2)
            await sim.sleep(rng.random() * 3)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume, {}, START, 0.0)
        tasks.start_soon(consume, {}, START, 0.4)
        tasks.start_soon(consume, {"dbid": WATCHED}, START, 0.0)
        tasks.start_soon(read)
        tasks.start_soon(come_and_go)
        for round_ in range(4):
            tasks.start_soon(consume, {}, START, 0.1 * round_)
            await disturb(sim, world)
        heal(world)
        world.fail(*PREFERRED)
        await until(lambda: at_site(client, BACKUP), limit_s=60)
        world.start(*PREFERRED)
        while not at_site(client, PREFERRED):
            world.create_skills(10_000 + 10 * len(world.history))
            await sim.sleep(0.05)

        def wanted(dbid: int) -> list[tuple[int, int]]:
            return [each for each in expected(world) if dbid in (0, each[1])]

        with anyio.move_on_after(600):
            while any(got != wanted(dbid) for dbid, got in streams):
                await sim.sleep(0.5)
        tasks.cancel_scope.cancel()
    for dbid, got in streams:
        assert got == wanted(dbid)
    assert len(expected(world)) >= 50, "a run without traffic proves nothing"
    assert client.statistics().switches > 0, "a run without a return proves nothing"
    assert [position.uen for position in reads] == sorted(position.uen for position in reads)


def heal(world: PoolWorld) -> None:
    world.network.heal()
    world.start(*world.down.copy())
    for name in list(world.held_back):
        world.catch_up(name)


async def disturb(sim: Simulation, world: PoolWorld) -> None:
    rng = sim.rng
    for _ in range(30):
        for _ in range(rng.randrange(3)):
            steps: list[Any] = [(Action.UPDATED, SKILL, {"DBID": WATCHED, "name": f"Name {len(world.history)}"})]
            first = 10_000 + 10 * len(world.history)
            steps += [(Action.CREATED, SKILL, skill(n)) for n in range(first, first + rng.randrange(5))]
            world.publish(*rng.sample(steps, rng.randint(1, len(steps))))
        name = rng.choice(list(world.members))
        match rng.randrange(14):
            case 0:
                world.network.cut(name)
            case 1:
                world.network.half_open(name)
            case 2:
                world.network.partition("client", name)
            case 3:
                world.fail(*PREFERRED)
            case 4:
                world.fail(name)
            case 5:
                world.hold_back(name)
            case 6 | 7 | 8:
                heal(world)
            case _:
                pass
        await sim.sleep(rng.random() * 2)
