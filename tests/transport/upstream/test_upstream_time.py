"""What an upstream source does over time, on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import anyio
import pytest
from upstream_world import BACKUP, MASTER, SKILL, Master, World, assert_same, make_world, skill

from csproxy.core.changelog import WindowLimits
from csproxy.core.changes import Action
from csproxy.core.keepalive import KeepAlive
from csproxy.core.replication import State
from csproxy.errors import ConfigurationError
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.connection import Connection
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.upstream import UpstreamLimits
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.replication import LoadDeferred

SHORT_HISTORY = {"history": WindowLimits(min_changes=1, min_age_s=0.0, max_bytes=1)}


def simulate(
    scenario: Callable[[Simulation, World], Coroutine[Any, Any, None]], *, seed: int = 1, **options: Any
) -> None:
    """Run a scenario on a network with latency, in simulated time."""

    async def run(simulation: Simulation) -> None:
        network = MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01))
        async with make_world(network=network, **options) as world:
            await scenario(simulation, world)

    run_simulated(run, seed=seed, time_limit_s=20_000)


async def wait_state(source: Any, state: State, *, limit_s: float = 600.0) -> None:
    with anyio.fail_after(limit_s):
        while source.state is not state:  # noqa: ASYNC110 - time is simulated
            await anyio.sleep(0.01)


def test_a_master_that_is_away_at_the_start_is_waited_for() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        world.network.refuse("master", 2020)
        async with world.source(limits=UpstreamLimits(), random=simulation.rng.random) as source:
            await simulation.sleep(600)
            assert world.sink.calls == []
            assert source.state in (State.LOST, State.CONNECTING)
            assert "connection refused" in source.statistics().last_error
            world.network.refuse("master", 2020, on=False)
            started = simulation.now()
            await source.wait_live()
            assert simulation.now() - started < 31

    simulate(scenario)


def test_attempts_become_rarer_but_never_stop() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        attempts: list[float] = []
        connector = world.network.connector("proxy")

        async def counting(host: str, port: int) -> Any:
            attempts.append(simulation.now())
            return await connector(host, port)

        world.network.refuse("master", 2020)
        world.network.connector = lambda _: counting  # type: ignore[method-assign]
        async with world.source(limits=UpstreamLimits(), random=simulation.rng.random):
            await simulation.sleep(3600)
        gaps = [b - a for a, b in pairwise(attempts)]
        assert max(gaps[:3]) < 1
        assert 500 < len(attempts) < 1000
        assert 5 < max(gaps[-20:]) < 10.5

    simulate(scenario)


def test_primary_and_backup_are_tried_in_turn() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        other = Master("backup")
        async with other.server:
            other.take_over(world.master, epoch=22)
            world.listen(other, BACKUP)
            world.network.partition("master")
            async with world.source(endpoints=[MASTER, BACKUP], limits=UpstreamLimits(connect_s=3)) as source:
                await wait_state(source, State.LIVE, limit_s=5)
                assert source.statistics().endpoint == "backup:2020"

    simulate(scenario)


def test_a_silent_master_is_asked_and_then_given_up() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source(limits=UpstreamLimits(), keep_alive=KeepAlive(timeout_s=30)) as source:
            await source.wait_live()
            await simulation.sleep(100)
            assert source.statistics().losses == 0, "an idle master answers"
            world.network.half_open("master")
            await simulation.sleep(75)
            assert source.statistics().losses == 1
            assert "connected already" in source.statistics().last_error, "the master has not noticed yet"
            world.network.cut("master")
            await wait_state(source, State.LIVE)
            assert source.statistics().loads == 1

    simulate(scenario)


def test_any_answer_shows_that_a_silent_master_is_there() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        del world.master.server.handlers[MessageId.PING]
        async with world.source(limits=UpstreamLimits(), keep_alive=KeepAlive(timeout_s=30)) as source:
            await source.wait_live()
            await simulation.sleep(300)
            assert source.statistics().losses == 0

    simulate(scenario)


def test_a_parted_master_is_followed_again_once_the_network_heals() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source(limits=UpstreamLimits(), random=simulation.rng.random) as source:
            await source.wait_live()
            world.network.partition("master", "proxy")
            world.master.create_skills(0, 3)
            await simulation.sleep(300)
            assert source.state is not State.LIVE
            assert world.sink.position.uen == 100
            world.network.heal()
            await wait_state(source, State.LIVE)
            assert_same(world.master, world.sink)
            assert world.sink.transactions == [[101, 102, 103]]
            assert source.statistics().loads == 1

    simulate(scenario)


def test_delay_reload_keeps_the_old_data_for_so_long() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source(limits=UpstreamLimits(), delay_reload_s=60.0) as source:
            started = simulation.now()
            await source.wait_live()
            assert simulation.now() - started < 5, "the first load is not delayed"
            world.network.refuse("master", 2020)
            world.network.cut("master")
            for n in range(50):
                world.master.create_skills(n)
            world.network.refuse("master", 2020, on=False)
            await wait_state(source, State.WAITING)
            started = simulation.now()
            await simulation.sleep(30)
            assert world.sink.cache.count(SKILL) == 0
            await wait_state(source, State.LIVE)
            assert 59 < simulation.now() - started < 62
            assert_same(world.master, world.sink)

    simulate(scenario, settings=SHORT_HISTORY)


def test_a_loss_while_a_reload_waits_does_not_prolong_the_wait() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source(limits=UpstreamLimits(), delay_reload_s=60.0) as source:
            await source.wait_live()
            source.delay_reload_s = 120.0
            assert source.delay_reload_s == 120.0
            world.network.cut("master")
            for n in range(50):
                world.master.create_skills(n)
            await wait_state(source, State.WAITING)
            started = simulation.now()
            await simulation.sleep(60)
            world.network.cut("master")
            await simulation.sleep(1)
            assert source.state is State.WAITING
            await wait_state(source, State.LIVE)
            assert 119 < simulation.now() - started < 125

    simulate(scenario, settings=SHORT_HISTORY)


def test_a_deferred_load_waits_as_long_as_the_master_says() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        def defer(connection: ServerConnection, frame: Frame) -> bool:
            connection.answer(frame, MessageId.LOAD_DEFERRED, LoadDeferred(retry_after_ms=20_000))
            return False

        world.master.before_first(MessageId.LOAD_BEGIN, defer)
        async with world.source() as source:
            await wait_state(source, State.WAITING)
            started = simulation.now()
            await source.wait_live()
            assert 19 < simulation.now() - started < 21
            assert source.statistics().deferrals == 1

    simulate(scenario)


def test_a_refusal_of_a_proxy_with_data_is_logged_and_tried_again_slowly(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source(limits=UpstreamLimits(refused_retry_s=15)) as source:
            await source.wait_live()
            right, world.master.server.release = world.master.server.release, "0.0.1"
            world.network.cut("master")
            await wait_state(source, State.REFUSED)
            await simulation.sleep(100)
            assert 3 <= source.statistics().refusals <= 7
            world.master.create_skills(0)
            world.master.server.release = right
            await wait_state(source, State.LIVE)
            assert_same(world.master, world.sink)

    simulate(scenario)
    refusals = [r for r in caplog.records if "older than this proxy" in r.message and r.name == "csproxy.upstream"]
    assert {(r.levelname, r.event) for r in refusals} == {("WARNING", 4502)}  # type: ignore[attr-defined]


def test_a_refusal_says_when_to_come_back() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source(limits=UpstreamLimits(refused_retry_s=1000)) as source:
            await source.wait_live()
            world.network.half_open("master")
            await wait_state(source, State.LOST, limit_s=100)
            await wait_state(source, State.REFUSED, limit_s=100)
            world.network.cut("master")
            await wait_state(source, State.LIVE, limit_s=100)

    simulate(scenario)


async def register_elsewhere(world: World) -> Connection:
    """The session that a proxy of the same name holds, on another machine."""
    channel = await world.network.connector("elsewhere")("master", 2020)
    connection = await Connection.open(channel, "first")
    await connection.register(RegisterClient(type=21, name="proxy1"))
    return connection


def test_an_empty_proxy_waits_until_the_master_notices_that_its_old_session_is_dead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        old = await register_elsewhere(world)
        async with world.source(limits=UpstreamLimits(), random=simulation.rng.random) as source:
            await simulation.sleep(30)
            assert world.sink.calls == []
            refusals = source.statistics().refusals
            assert 3 < refusals < 15
            old.close()
            await source.wait_live()
            assert simulation.now() < 60
            assert_same(world.master, world.sink)

    simulate(scenario)
    (warning,) = [r for r in caplog.records if r.name == "csproxy.upstream" and r.levelname == "WARNING"]
    assert "connected already, from elsewhere" in warning.message
    assert "trying again for 60 s" in warning.message
    assert warning.event == 4502  # type: ignore[attr-defined]


def test_a_second_proxy_of_the_same_name_gives_up_after_a_while() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        first = await register_elsewhere(world)
        async with world.source(limits=UpstreamLimits(), random=simulation.rng.random) as source:
            with pytest.raises(ConfigurationError, match="another proxy seems to run as 'proxy1'") as caught:
                await source.wait_live()
            assert 60 <= simulation.now() < 62
        assert "connected already" in str(caught.value)
        assert "another proxy" in source.statistics().last_error
        assert (source.state, world.sink.calls) == (State.STOPPED, [])
        first.close()

    simulate(scenario)


def test_time_to_be_noticed_starts_anew_with_each_session() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        first = await register_elsewhere(world)

        def hang(connection: ServerConnection, frame: Frame) -> bool:
            world.network.half_open("master")  # the master sees a session that stands
            return False

        world.master.before_first(MessageId.LOAD_BEGIN, hang)
        async with world.source(limits=UpstreamLimits(), random=simulation.rng.random) as source:
            await simulation.sleep(50)
            first.close()
            await simulation.sleep(50)
            assert source.statistics().connects == 1
            with anyio.fail_after(60):
                while source.state is not State.REFUSED:  # noqa: ASYNC110 - time is simulated
                    await anyio.sleep(0.1)
            await simulation.sleep(10)
            world.network.cut("master")
            await source.wait_live()

    simulate(scenario)


def test_life_cycle_events_carry_their_published_numbers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="csproxy.upstream")

    async def scenario(simulation: Simulation, world: World) -> None:
        world.network.refuse("master", 2020)
        async with world.source() as source:
            await simulation.sleep(1)
            world.network.refuse("master", 2020, on=False)
            await source.wait_live()
            world.network.cut("master")
            await wait_state(source, State.LOST)
            await wait_state(source, State.LIVE)

    simulate(scenario)
    numbers = [r.event for r in caplog.records if hasattr(r, "event") and r.name == "csproxy.upstream"]
    assert numbers[:2] == [4500, 4502]
    assert numbers[-5:] == [4500, 4503, 4504, 4500, 4503]


@pytest.mark.parametrize("step", range(0, 120, 3))
def test_stopping_at_any_moment_of_the_start_ends_cleanly(step: int) -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        source = world.source()
        with anyio.move_on_after(step / 1000):
            async with source:
                await source.wait_live()
                await anyio.sleep_forever()
        assert source.state is State.STOPPED
        async with world.source() as again:
            await again.wait_live()
            assert_same(world.master, world.sink)

    simulate(scenario, seed=step)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_network_does_the_proxy_converges_and_shows_whole_transactions(seed: int) -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        rng = simulation.rng
        whole: list[list[int]] = []

        async def write() -> None:
            for n in range(60):
                changes = world.master.create_skills(n * 10, rng.randint(1, 5))
                whole.append([change.position.uen for change in changes])
                if rng.random() < 0.3:
                    changes = world.master.publish((Action.DELETED, SKILL, skill(n * 10)))
                    whole.append([changes[0].position.uen])
                await simulation.sleep(rng.uniform(0, 4))

        async def disturb() -> None:
            for _ in range(15):
                await simulation.sleep(rng.uniform(0, 12))
                match rng.randrange(3):
                    case 0:
                        world.network.cut("master")
                    case 1:
                        world.network.partition("master")
                        await simulation.sleep(rng.uniform(0, 60))
                        world.network.heal()
                    case 2:
                        world.network.delay("master", extra_s=rng.uniform(0, 0.5))

        limits = UpstreamLimits(answer_s=10, load_s=60)
        async with world.source(
            limits=limits, keep_alive=KeepAlive(timeout_s=10, remote_timeout_s=10), random=rng.random
        ) as source:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                tasks.start_soon(disturb)
            world.network.heal()
            world.network.delay("master", extra_s=0)
            await wait_state(source, State.LIVE)
            await world.caught_up(limit_s=120)
            assert_same(world.master, world.sink)
            assert source.statistics().losses > 0
            published = world.sink.transactions
            assert published == [t for t in whole if t in published], "only whole transactions, in order, once"
            if world.sink.calls.count("replace") == 1:
                assert published == whole[len(whole) - len(published) :]

    simulate(scenario, seed=seed)
