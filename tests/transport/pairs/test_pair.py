"""A warm-standby pair of proxies: who serves, and what clients notice when that changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from pair_world import KEEP_ALIVE, NAMES, PORT, PairWorld, pair_world

from csproxy.core.changes import Position
from csproxy.core.standby import Role
from csproxy.errors import CsproxyError, LocalProtocolError, ServerError
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.client import ConfigClient
from csproxy.transport.connection import Connection
from csproxy.transport.wire.registration import RegisterClient, RestoreSession
from tests.transport.upstream.upstream_world import MASTER

CLIENTS = 20
DESK = RegisterClient(type=19, name="default", user="default", password="secret")
SEEDS = range(4)


def simulated(test: Callable[[PairWorld], Awaitable[None]], *, seed: int = 1, clients: int = CLIENTS) -> None:
    async def run(simulation: Simulation) -> None:
        async with pair_world(simulation, clients=clients) as world:
            await test(world)

    run_simulated(run, seed=seed)


async def with_writes(world: PairWorld, trouble: Awaitable[None]) -> None:
    """Changes go on at the master meanwhile."""
    async with anyio.create_task_group() as tasks:

        async def write() -> None:
            while True:
                world.write()
                await anyio.sleep(0.05)

        tasks.start_soon(write)
        await anyio.sleep(0.5)
        await trouble
        await anyio.sleep(1.0)
        tasks.cancel_scope.cancel()
    await world.settle()


async def after(delay_s: float, action: Callable[[], object]) -> None:
    await anyio.sleep(delay_s)
    action()


def test_the_backup_refuses_clients_and_names_the_primary() -> None:
    async def test(world: PairWorld) -> None:
        client = ConfigClient(
            NAMES[1], PORT, user="default", password="secret", connector=world.network.connector("other")
        )
        with pytest.raises(CsproxyError, match="'proxy2' is the backup of a pair and serves no clients: connect to"):
            async with client:
                pass
        assert world.second.server.status()["role"] == "backup"

    simulated(test, clients=1)


def test_the_backup_follows_the_master_itself_and_stores_every_session() -> None:
    async def test(world: PairWorld) -> None:
        await world.until(lambda: world.second.member.statistics().stored_sessions == CLIENTS)
        world.write()
        await world.until(lambda: world.second.server.position == world.master.server.position)
        assert world.first.member.statistics().untold_sessions == 0

    simulated(test)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_primary_that_stops_or_is_killed_is_replaced_and_every_session_is_restored(end: str, seed: int) -> None:
    async def test(world: PairWorld) -> None:
        await with_writes(world, getattr(world.first, end)())
        assert world.second.role is Role.PRIMARY
        world.assert_exact()
        assert world.restores == CLIENTS
        assert world.registrations == 0

    simulated(test, seed=seed)


@pytest.mark.parametrize("listens_s", [0.0, 0.03, 0.2])
def test_clients_of_a_primary_that_dies_wait_at_its_standby_until_it_serves(listens_s: float) -> None:
    """They come while it is being decided who serves, and are not sent away to come again."""

    async def test(world: PairWorld) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(world.first.die, listens_s=listens_s))
            await anyio.sleep(0.001)
            await world.until(lambda: world.restores == CLIENTS, limit_s=3 * listens_s + 0.2)
        await world.settle()
        world.assert_exact()
        assert world.registrations == 0

    simulated(test)


@pytest.mark.parametrize("frozen", [0, 1])
def test_clients_that_come_before_a_silent_primary_is_given_up_wait_for_that(frozen: int) -> None:
    async def test(world: PairWorld) -> None:
        members = [world.first, world.second]
        if frozen:
            await world.first.member.hand_over()
            await world.until(lambda: world.restores == CLIENTS)
        primary, standby = members[frozen], members[1 - frozen]
        world.network.partition(primary.name)
        await anyio.sleep(1.5 * KEEP_ALIVE.timeout_s)
        began = anyio.current_time()
        connection = await Connection.open(await world.network.connector("impatient")(standby.name, PORT), "impatient")
        assert standby.role is Role.STANDBY
        await connection.register(DESK, timeout_s=10.0)
        assert standby.role is Role.PRIMARY
        assert 0.1 < anyio.current_time() - began < KEEP_ALIVE.timeout_s

    simulated(test)


def test_a_client_that_comes_while_its_primary_is_only_slow_to_answer_is_refused() -> None:
    async def test(world: PairWorld) -> None:
        world.network.partition(*NAMES)
        await anyio.sleep(1.5 * KEEP_ALIVE.timeout_s)
        connection = await Connection.open(await world.network.connector("late")(NAMES[1], PORT), "late")
        world.tasks.start_soon(after, 0.2, partial(world.network.heal, *NAMES))
        with pytest.raises(ServerError, match="connect to 'proxy1'"):
            await connection.register(DESK, timeout_s=10.0)

    simulated(test, clients=1)


def test_clients_are_refused_when_it_takes_longer_to_know_who_serves() -> None:
    async def test(world: PairWorld) -> None:
        world.network.partition(*NAMES)
        world.network.cut(*NAMES)
        await world.until(lambda: world.second.role is Role.SEEKING)
        began = anyio.current_time()
        late = Connection.open(await world.network.connector("late")(NAMES[1], PORT), "late")
        with pytest.raises(ServerError, match="waits for 'proxy1': try again") as refused:
            await (await late).register(DESK, timeout_s=10.0)
        assert refused.value.retry_after_s > 0
        assert 0.9 < anyio.current_time() - began < 1.2

    simulated(test, clients=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_primary_that_freezes_is_replaced_and_stays_when_it_thaws(seed: int) -> None:
    async def test(world: PairWorld) -> None:
        await with_writes(world, world.first.freeze(for_s=40.0))
        await world.until(lambda: {world.first.role, world.second.role} == {Role.PRIMARY, Role.STANDBY})
        await world.settle()
        world.assert_exact()
        assert Role.PRIMARY in world.second.roles

    simulated(test, seed=seed)


def test_a_link_that_ends_as_soon_as_it_is_there_is_not_made_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: PairWorld) -> None:
        links = 0

        def refuse(connection: Any, frame: Any) -> None:
            nonlocal links
            links += 1
            connection.channel.close(flush=False)

        await world.until(lambda: world.second.role is Role.STANDBY)
        monkeypatch.setattr(world.first.server.pair, "accept", refuse)
        world.network.cut(*NAMES)
        await anyio.sleep(60.0)
        assert 30 <= links <= 130

    simulated(test, clients=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_that_cannot_see_each_other_both_serve_until_the_younger_steps_down(seed: int) -> None:
    async def test(world: PairWorld) -> None:
        async def part() -> None:
            world.network.partition(*NAMES)
            await world.until(lambda: world.second.role is Role.PRIMARY)
            await world.follow(0)
            world.network.partition("client0", NAMES[0])
            world.network.cut("client0", NAMES[0])
            await anyio.sleep(10.0)
            world.network.heal()

        await with_writes(world, part())
        await world.until(lambda: (world.first.role, world.second.role) == (Role.PRIMARY, Role.STANDBY))
        await world.settle()
        world.assert_exact()
        assert world.second.roles[-2:] == [Role.PRIMARY, Role.STANDBY]

    simulated(test, seed=seed)


def test_a_session_that_came_from_the_younger_of_two_primaries_is_told_to_it_as_its_standby() -> None:
    async def test(world: PairWorld) -> None:
        world.network.partition(*NAMES)
        await world.until(lambda: world.second.role is Role.PRIMARY)
        world.network.partition("client3", NAMES[0])
        await world.follow(1)
        world.network.heal(*NAMES)
        await world.until(lambda: world.second.member.statistics().stored_sessions == 4)
        await world.first.kill()
        await world.settle()
        world.assert_exact()
        assert world.registrations == 0

    simulated(test, clients=3)


def test_the_old_primary_becomes_the_backup_when_it_is_back() -> None:
    async def test(world: PairWorld) -> None:
        await world.first.kill()
        await world.until(lambda: world.second.role is Role.PRIMARY)
        await world.first.start()
        await world.until(lambda: world.first.role is Role.STANDBY)
        await world.settle()
        await world.until(lambda: world.first.member.statistics().stored_sessions == CLIENTS)
        await world.second.stop()
        await world.settle()
        assert world.first.role is Role.PRIMARY
        world.assert_exact()
        assert world.registrations == 0

    simulated(test)


def test_on_command_the_primary_hands_over_and_back() -> None:
    async def test(world: PairWorld) -> None:
        await world.first.member.hand_over()
        assert (world.first.role, world.second.role) == (Role.STANDBY, Role.PRIMARY)
        with pytest.raises(LocalProtocolError, match="is standby: it has nothing to hand over"):
            await world.first.member.hand_over()
        await world.settle()
        await world.second.member.hand_over()
        assert (world.first.role, world.second.role) == (Role.PRIMARY, Role.STANDBY)
        await world.settle()
        world.assert_exact()
        assert world.restores == 2 * CLIENTS

    simulated(test)


def test_on_command_one_that_waits_for_the_other_serves_at_once() -> None:
    async def test(world: PairWorld) -> None:
        with pytest.raises(LocalProtocolError, match="the other member of the pair is there: it has to hand over"):
            world.second.member.promote()
        world.network.partition(*NAMES)
        world.network.cut(*NAMES)
        await world.until(lambda: world.second.role is Role.SEEKING)
        world.second.member.promote()
        assert world.second.role is Role.PRIMARY
        world.network.heal()
        await world.until(lambda: (world.first.role, world.second.role) == (Role.PRIMARY, Role.STANDBY))
        await world.settle()
        world.assert_exact()

    simulated(test)


def test_one_that_hands_over_to_a_member_that_has_frozen_serves_again_and_keeps_its_clients() -> None:
    async def test(world: PairWorld) -> None:
        await world.first.member.hand_over()
        await world.until(lambda: world.restores == CLIENTS)
        world.network.partition(NAMES[0])
        await world.second.member.hand_over()
        assert world.second.role is Role.STANDBY
        await world.until(lambda: world.second.role is Role.PRIMARY)
        await world.settle()
        assert (world.restores, world.registrations) == (CLIENTS, 0)
        world.network.heal()
        await world.until(lambda: {world.first.role, world.second.role} == {Role.STANDBY, Role.PRIMARY})
        await world.settle()
        world.assert_exact()

    simulated(test)


def test_a_session_that_the_backup_does_not_know_is_refused_and_its_client_resumes_all_the_same() -> None:
    """E3: with the link gone before the switchover, clients register anew."""

    async def test(world: PairWorld) -> None:
        world.network.partition(*NAMES)
        await world.until(lambda: world.second.role is Role.PRIMARY)
        await world.follow(3)
        await world.first.kill()
        world.network.heal()
        await world.settle()
        world.assert_exact()
        assert world.registrations == 3

    simulated(test)


def test_a_link_that_begins_anew_tells_of_sessions_whose_clients_are_away_too() -> None:
    async def test(world: PairWorld) -> None:
        for member in NAMES:
            world.network.partition("client0", member)
        world.network.cut("client0")
        await world.until(lambda: world.first.server.sessions.detached_count == 1)
        world.network.cut(*NAMES)
        await world.until(lambda: not world.second.member.statistics().other_role)
        await world.until(lambda: world.second.member.statistics().other_role == "primary")
        await anyio.sleep(0.1)
        await world.first.kill()
        await world.until(lambda: world.second.role is Role.PRIMARY)
        for member in NAMES:
            world.network.heal("client0", member)
        await world.settle()
        world.assert_exact()
        assert (world.restores, world.registrations) == (CLIENTS, 0)

    simulated(test)


def test_a_new_primary_that_is_behind_restores_no_session_before_it_has_what_its_client_has_seen() -> None:
    async def test(world: PairWorld) -> None:
        behind = (NAMES[1], MASTER.host)
        world.network.partition(*behind)
        await world.settle()
        await world.first.kill()
        await world.until(lambda: world.second.role is Role.PRIMARY)
        await anyio.sleep(10.0)  # an attempt waits for three seconds
        assert world.second.server.position.uen < world.followers[0].uens[-1]
        assert world.restores == 0
        assert len(world.second.server.sessions) == 0
        world.network.heal(*behind)
        await world.settle()
        world.assert_exact()
        assert (world.restores, world.registrations) == (CLIENTS, 0)

    simulated(test)


def test_a_standby_that_is_behind_keeps_nobody_waiting_before_it_refuses() -> None:
    async def test(world: PairWorld) -> None:
        (follower,) = world.followers
        registered = follower.client._link.session.registered
        assert registered is not None
        channel = await world.network.connector("client0")(NAMES[1], PORT)
        connection = await Connection.open(channel, "default")
        ahead = Position(registered.epochs[-1][0], world.master.server.position.uen + 1)
        restore = RestoreSession(type=107, name="default", user="default", session=registered.session)
        began = world.simulation.now()
        with pytest.raises(ServerError, match="is the backup of a pair and serves no clients"):
            await connection.restore(restore, minimum=ahead)
        assert world.simulation.now() - began < 1.0
        connection.close()

    simulated(test, clients=1)


def test_a_lone_backup_takes_over_after_its_patience() -> None:
    async def test(world: PairWorld) -> None:
        await world.second.start()
        await world.until(lambda: world.second.role is Role.PRIMARY)
        assert anyio.current_time() >= 3.0
        await world.first.start()
        await world.until(lambda: world.first.role is Role.STANDBY)

    simulated(test, clients=0)


def test_whoever_is_not_the_other_of_the_pair_is_refused() -> None:
    async def test(world: PairWorld) -> None:
        from csproxy.transport.wire.messages import MessageId
        from csproxy.transport.wire.pairs import PeerUpdate

        connection = await world.followers[0].client.connection()
        with pytest.raises(CsproxyError, match="this is for 'proxy2', the other proxy of the pair"):
            await connection.request(MessageId.PEER_UPDATE, PeerUpdate())

    simulated(test, clients=1)
