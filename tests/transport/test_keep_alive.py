"""A peer that has fallen silent is found in time, on both sides, and nobody else is taken for one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from csproxy.core.keepalive import KeepAlive, Trace
from csproxy.core.model import CfgSkill
from csproxy.errors import ServerError
from csproxy.testing import FaultProxy, MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.client import ClientState, ConfigClient
from csproxy.transport.dial import connect_tcp
from csproxy.transport.keepalive import TRACE
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.wire.frames import Frame, encode_frame
from csproxy.transport.wire.keepalive import SetKeepAlive
from csproxy.transport.wire.messages import MessageId
from tests.transport.client.client_world import ClientWorld, make_world
from tests.transport.client.scripted import ScriptedServer
from tests.transport.upstream.upstream_world import until

OFF = KeepAlive()


def simulate(scenario: Callable[[Simulation, ClientWorld], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a scenario on a network with latency, in simulated time."""

    async def run(simulation: Simulation) -> None:
        network = MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01))
        async with make_world(network=network, **options) as world:
            await scenario(simulation, world)

    run_simulated(run, seed=1, time_limit_s=20_000)


async def suspended_after(simulation: Simulation, client: ConfigClient, *, limit_s: float = 1000.0) -> float:
    """Seconds until the client has lost its connection."""
    began = simulation.now()
    with anyio.fail_after(limit_s):
        await client.wait_for(ClientState.SUSPENDED)
    return simulation.now() - began


async def gone_after(simulation: Simulation, world: ClientWorld, *, limit_s: float = 1000.0) -> float:
    """Seconds until the server has no client any more."""
    began = simulation.now()
    await until(lambda: not len(world.master.server.sessions), limit_s=limit_s)
    return simulation.now() - began


# the client's watch


def test_a_dead_server_is_found_within_twice_the_time_out() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(timeout_s=10)) as client:
            await simulation.sleep(35)
            assert client.state is ClientState.CONNECTED
            world.network.half_open("master")
            assert 10 <= await suspended_after(simulation, client) <= 20.1

    simulate(scenario)


def test_the_reason_says_how_long_nothing_came() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(timeout_s=10)) as client:
            world.network.partition("master")
            await suspended_after(simulation, client)
            assert "nothing came for 20.0 s, and no answer to a poll within 10 s" in str(client._link._last_error)

    simulate(scenario)


def test_without_a_time_out_the_client_waits_for_ever() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=OFF) as client:
            world.network.half_open("master")
            await simulation.sleep(5000)
            assert client.state is ClientState.CONNECTED

    simulate(scenario)


def test_an_answer_of_any_kind_is_a_sign_of_life() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        del world.master.server.handlers[MessageId.PING]
        async with world.client(keep_alive=KeepAlive(timeout_s=10)) as client:
            await simulation.sleep(500)
            assert client.statistics().reconnects == 0

    simulate(scenario)


# the server's watch


def test_a_dead_client_is_found_within_twice_the_remote_time_out() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(remote_timeout_s=10)):
            await simulation.sleep(35)
            assert len(world.master.server.sessions) == 1
            world.network.half_open("client")
            assert 10 <= await gone_after(simulation, world) <= 20.6
            assert world.master.server.keep_alive.lost == 1
            world.network.cut("client")

    simulate(scenario)


def test_a_session_whose_client_was_lost_can_be_restored() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(timeout_s=10, remote_timeout_s=10)) as client:
            await simulation.sleep(1)
            world.network.partition("client")
            await gone_after(simulation, world)
            world.network.heal()
            await until(lambda: client.statistics().restores == 1, limit_s=100)

    simulate(scenario)


def test_idle_clients_answer_polls_and_nobody_is_lost() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with (
            world.client(keep_alive=KeepAlive(remote_timeout_s=5)) as answering,
            world.client(keep_alive=KeepAlive(timeout_s=5)) as asking,
            world.client(keep_alive=KeepAlive(timeout_s=7, remote_timeout_s=3)) as both,
        ):
            await simulation.sleep(3000)
            assert [each.statistics().reconnects for each in (answering, asking, both)] == [0, 0, 0]

    simulate(scenario, mark_interval_s=100_000)


def test_both_sides_find_a_partition_each_in_its_own_time() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(timeout_s=10, remote_timeout_s=30)) as client:
            await simulation.sleep(5)
            world.network.partition("client")
            client_s = await suspended_after(simulation, client)
            server_s = client_s + await gone_after(simulation, world)
            assert client_s <= 20.1
            assert 30 <= server_s <= 60.6

    simulate(scenario)


def test_a_client_that_does_not_read_for_a_while_is_not_taken_for_dead() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(timeout_s=10, remote_timeout_s=5)) as client:
            parts = client.iterate(CfgSkill)
            await anext(parts)
            connection = await client.connection()
            await until(lambda: connection.is_held)
            await simulation.sleep(600)
            assert connection.is_held
            assert sum([len(part) async for part in parts]) > 0
            async with client.iterate(CfgSkill) as given_up:
                await anext(given_up)
                await until(lambda: connection.is_held)
                await simulation.sleep(60)
            await simulation.sleep(60)
            assert client.statistics().reconnects == 0
            assert await client.count(CfgSkill) == 3000

    simulate(scenario, skills=3000, settings={"packet_bytes": 2000})


def test_a_client_whose_line_is_full_of_what_it_reads_is_not_taken_for_dead() -> None:
    """The server's poll comes after what was sent before it, which takes many times the time-out."""

    async def run(simulation: Simulation) -> None:
        network = MemoryNetwork(simulation.rng, latency_s=(0.1, 0.1), window_bytes=1500)
        async with (
            make_world(network=network, skills=3000) as world,
            world.client(keep_alive=KeepAlive(timeout_s=1, remote_timeout_s=1), request_timeout_s=600) as client,
        ):
            began = simulation.now()
            assert len(await client.read(CfgSkill)) == 3000
            assert simulation.now() - began > 10
            assert client.statistics().reconnects == 0

    run_simulated(run, seed=1, time_limit_s=20_000)


@pytest.mark.parametrize(
    "settings", [{"remote_timeout_s": 5}, {"timeout_s": 5}, {"timeout_s": 2, "remote_timeout_s": 9}]
)
def test_while_a_server_is_busy_with_a_request_neither_side_gives_up(settings: dict[str, float]) -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async def work(connection: ServerConnection, frame: Frame) -> None:
            await anyio.sleep(100)
            connection.answer(frame, MessageId.SCHEMA_FILE_SENT)

        world.master.override(
            MessageId.SCHEMA_FILE, lambda connection, frame: connection.wait_for(frame, work, connection, frame)
        )
        async with world.client(keep_alive=KeepAlive(**settings)) as client:
            connection = await client.connection()
            await connection.request(MessageId.SCHEMA_FILE, timeout_s=200)
            await simulation.sleep(50)
            assert client.statistics().reconnects == 0
            assert not world.master.server.keep_alive._unread

    simulate(scenario)


# changes while connected


def test_settings_can_be_changed_while_connected() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=OFF) as client:
            client.keep_alive = KeepAlive(timeout_s=1000, remote_timeout_s=1000)
            await simulation.sleep(1)
            client.keep_alive = KeepAlive(timeout_s=4, remote_timeout_s=2)
            assert client.keep_alive == KeepAlive(timeout_s=4, remote_timeout_s=2)
            await simulation.sleep(100)
            world.network.half_open("client")
            assert await gone_after(simulation, world) <= 4.6
            assert await suspended_after(simulation, client) <= 4.1

    simulate(scenario)


def test_switched_off_while_connected_nobody_watches() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(timeout_s=4, remote_timeout_s=4)) as client:
            client.keep_alive = OFF
            await simulation.sleep(1)
            world.network.partition("client")
            await simulation.sleep(5000)
            assert client.state is ClientState.CONNECTED
            assert len(world.master.server.sessions) == 1

    simulate(scenario)


def test_the_settings_go_on_on_the_next_connection() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(remote_timeout_s=5)) as client:
            world.network.cut("client")
            await until(lambda: client.statistics().reconnects == 1, limit_s=100)
            await simulation.sleep(1)
            world.network.half_open("client")
            assert await gone_after(simulation, world) <= 10.6

    simulate(scenario)


@pytest.mark.parametrize("field", ["timeout_ms", "patience_ms"])
@pytest.mark.parametrize("value", [-1, 3_600_001])
def test_a_time_out_out_of_range_is_refused_with_what_is_possible(field: str, value: int) -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=OFF) as client:
            connection = await client.connection()
            with pytest.raises(ServerError, match="0 \\(off\\) to 3600000 are possible"):
                await connection.request(MessageId.SET_KEEP_ALIVE, SetKeepAlive(**{field: value}))

    simulate(scenario)


# other releases


def test_a_server_that_does_not_know_the_request_is_only_watched() -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        del world.master.server.handlers[MessageId.SET_KEEP_ALIVE]
        async with world.client(keep_alive=KeepAlive(timeout_s=10, remote_timeout_s=10)) as client:
            await simulation.sleep(300)
            assert client.statistics().reconnects == 0

    simulate(scenario)


@pytest.mark.anyio
async def test_a_server_that_polls_again_and_again_gets_one_answer_until_it_takes_it() -> None:
    server = ScriptedServer()
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            peer = await server.next_connection()
            await peer.accept_client()
            for _ in range(1000):
                peer.send(encode_frame(MessageId.POLL, b""))
            ping = await peer.next_request(MessageId.PING)
            assert peer.waiting_requests == 0
            peer.answer(ping, MessageId.PONG)
            peer.send(encode_frame(MessageId.POLL, b""))
            await peer.next_request(MessageId.PING)
            answered.set()

        answered = anyio.Event()
        tasks.start_soon(serve)
        async with ConfigClient("scripted", user="default", connector=server.connect, keep_alive=OFF):
            with anyio.fail_after(5):
                await answered.wait()


# trace


@pytest.fixture
def traced(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    caplog.set_level(TRACE, logger="csproxy")

    def lines(word: str) -> list[str]:
        found = [r.getMessage() for r in caplog.records if r.levelno == TRACE and r.getMessage().startswith("addp:")]
        return [line for line in found if word in line]

    return lines


@pytest.mark.parametrize("trace", list(Trace))
def test_each_side_writes_trace_lines_if_it_is_to(trace: Trace, traced: Callable[[str], list[str]]) -> None:
    async def scenario(simulation: Simulation, world: ClientWorld) -> None:
        async with world.client(keep_alive=KeepAlive(timeout_s=7, remote_timeout_s=5, trace=trace)) as client:
            await simulation.sleep(30)
            world.network.half_open("master")
            await suspended_after(simulation, client)

    simulate(scenario)
    here, there = trace in (Trace.LOCAL, Trace.BOTH), trace in (Trace.REMOTE, Trace.BOTH)
    assert bool(traced("polls this side")) is here
    assert bool(traced("is lost")) is here
    assert bool(traced("polling <ServerConnection")) is there
    assert bool(traced("is there")) is there


# real sockets


@pytest.mark.anyio
async def test_a_deaf_connection_between_sockets_is_found_from_both_sides() -> None:
    fast = KeepAlive(timeout_s=0.3, remote_timeout_s=0.3)
    async with make_world() as world, Listener([ListenPort("d", "127.0.0.1", 0)], world.master.server.connect) as door:
        host, port = door.addresses()["d"]
        async with (
            FaultProxy(host, port) as proxy,
            ConfigClient(
                proxy.host, proxy.port, user="default", password="secret", connector=connect_tcp, keep_alive=fast
            ) as client,
        ):
            assert len(await client.read(CfgSkill)) == 5
            proxy.deafen()
            with anyio.fail_after(30):
                await client.wait_for(ClientState.SUSPENDED)
                await until(lambda: not len(world.master.server.sessions), limit_s=30)
                proxy.restore()
                await client.wait_for(ClientState.CONNECTED)
            assert len(await client.read(CfgSkill)) == 5
