from __future__ import annotations

import anyio
from anyio.abc import TaskGroup

from csproxy.testing import MemoryNetwork, Simulation, run_simulated
from csproxy.testing.programs import Program
from csproxy.transport import turns
from csproxy.transport.blocking import run_blocking
from csproxy.transport.channel import Channel


def test_nothing_of_a_frozen_program_runs_and_its_timers_fire_when_it_goes_on() -> None:
    ticks: list[float] = []

    async def tick(sim: Simulation) -> None:
        while True:
            await run_blocking(ticks.append, sim.now())
            await anyio.sleep(1.0)

    async def scenario(sim: Simulation) -> None:
        async with anyio.create_task_group() as tasks:
            with Program() as program:
                tasks.start_soon(tick, sim)
            await anyio.sleep(2.5)
            program.freeze()
            await anyio.sleep(4.0)
            assert ticks == [0.0, 1.0, 2.0]
            program.thaw()
            await anyio.sleep(1.2)
            assert ticks == [0.0, 1.0, 2.0, 6.5, 7.5]
            tasks.cancel_scope.cancel()

    run_simulated(scenario, seed=1)


class Echo:
    """Answers what it is sent, in a task of its own."""

    def __init__(self, channel: Channel, tasks: TaskGroup) -> None:
        self._channel = channel
        self._tasks = tasks
        channel.start(self)

    def receive(self, data: bytes) -> None:
        turns.start_soon(self._tasks, self._answer, data)

    async def _answer(self, data: bytes) -> None:
        self._channel.write(data)

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        pass


class Caller:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.got = b""
        self.is_closed = False
        channel.start(self)

    def receive(self, data: bytes) -> None:
        self.got += data

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        self.is_closed = True


def test_the_kernel_of_a_frozen_program_takes_connections_and_bytes() -> None:
    async def scenario(sim: Simulation) -> None:
        async with MemoryNetwork(sim.rng, latency_s=(0.01, 0.02)) as network, anyio.create_task_group() as tasks:
            with Program() as program:
                network.listen("server", 2020, lambda channel: Echo(channel, tasks))
            connect = network.connector("client")
            early = Caller(await connect("server", 2020))
            program.freeze()
            late = Caller(await connect("server", 2020))
            early.channel.write(b"one")
            late.channel.write(b"two")
            await anyio.sleep(5)
            assert (early.got, late.got) == (b"", b"")
            program.thaw()
            await anyio.sleep(1)
            assert (early.got, late.got) == (b"one", b"two")
            assert not early.is_closed
            assert not late.is_closed
            tasks.cancel_scope.cancel()

    run_simulated(scenario, seed=1)


def test_a_connection_that_a_frozen_program_never_took_ends_with_its_listener() -> None:
    async def scenario(sim: Simulation) -> None:
        async with MemoryNetwork(sim.rng, latency_s=(0.01, 0.02)) as network, anyio.create_task_group() as tasks:
            with Program() as program:
                listener = network.listen("server", 2020, lambda channel: Echo(channel, tasks))
            program.freeze()
            caller = Caller(await network.connector("client")("server", 2020))
            listener.close()
            program.thaw()
            await anyio.sleep(1)
            assert caller.is_closed
            tasks.cancel_scope.cancel()

    run_simulated(scenario, seed=1)
