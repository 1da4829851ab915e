"""How a source tries the two masters of a pair: as the master's Application says, also when that changes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
from upstream_world import APPLICATION, EPOCH, Item, Master, World, make_world

from csproxy.core.changes import Action, Epoch, Position
from csproxy.core.failover import Endpoint
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.replication import State
from csproxy.core.wellknown import CONFSERV, well_known_objects
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.upstream import UpstreamLimits

PRIMARY, OTHER = Endpoint("10.0.0.1", 2020), Endpoint("10.0.0.1", 2021)


def pair_objects(**server: Any) -> list[Item]:
    """A pair of masters; ``server`` is what the serverInfo of the primary says."""
    found = []
    for kind, obj, folder in well_known_objects(
        address="10.0.0.1", proxies=[("proxy1", 2022)], backup=("second", OTHER.port)
    ):
        if (kind, obj["DBID"]) == (APPLICATION, CONFSERV):
            obj["serverInfo"].update(server)
        found.append((kind, obj, folder))
    return found


class Attempts:
    """The connector of a proxy, and when it was asked for which server."""

    def __init__(self, simulation: Simulation, world: World) -> None:
        self.made: list[tuple[float, int]] = []
        self._now = simulation.now
        self._connector = world.network.connector("proxy")
        world.network.connector = lambda _: self  # type: ignore[method-assign, assignment, return-value]

    async def __call__(self, host: str, port: int) -> Any:
        self.made.append((self._now(), port))
        return await self._connector(host, port)

    def ports(self) -> list[int]:
        return [port for _, port in self.made]

    def gaps(self) -> list[float]:
        times = [time for time, _ in self.made]
        return [round(after - before, 3) for before, after in pairwise(times)]


def simulate(scenario: Callable[[Simulation, World], Coroutine[Any, Any, None]], objects: list[Item]) -> None:
    async def run(simulation: Simulation) -> None:
        network = MemoryNetwork(simulation.rng)
        async with make_world(objects, network=network) as world:
            world.listen(world.master, PRIMARY)
            await scenario(simulation, world)

    run_simulated(run, seed=1, time_limit_s=20_000)


def fail(world: World) -> None:
    """The primary is gone, and nothing listens where the other one should be."""
    world.network.refuse(*PRIMARY)
    world.network.refuse(*OTHER)
    world.network.cut(PRIMARY.host)


def test_attempts_and_time_out_of_the_masters_application_count_after_a_loss() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        attempts = Attempts(simulation, world)
        limits = UpstreamLimits()
        async with world.source(endpoints=[PRIMARY], limits=limits, random=lambda: 1.0) as source:
            await source.wait_live()
            fail(world)
            await simulation.sleep(60)
        assert attempts.ports()[1:9] == [2020, 2020, 2020, 2021, 2021, 2021, 2020, 2020]
        assert attempts.gaps()[1:10] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0, 4.0], (
            "the time-out is the longest pause"
        )

    simulate(scenario, pair_objects(attempts=3, timeout=4))


def test_a_change_of_the_masters_application_counts_from_the_next_loss_on() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        attempts = Attempts(simulation, world)
        limits = UpstreamLimits()
        async with world.source(endpoints=[PRIMARY], limits=limits, random=lambda: 1.0) as source:
            await source.wait_live()
            server = {"serverInfo": {"attempts": 2, "timeout": 1}}
            world.master.publish((Action.UPDATED, APPLICATION, {"DBID": CONFSERV, **server}))
            await world.caught_up()
            fail(world)
            await simulation.sleep(30)
        assert attempts.ports()[1:6] == [2020, 2020, 2021, 2021, 2020]
        assert max(attempts.gaps()[1:]) == 1.0

    simulate(scenario, pair_objects())


def test_a_source_with_a_copy_finds_the_other_master_although_the_one_it_was_given_is_away() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        objects = pair_objects()
        builder = CacheBuilder(None)
        for kind, obj, folder in objects:
            builder.add(kind, [encode_object(SCHEMA.types[kind], obj)], [folder])
        world.sink.replace(builder, Position(EPOCH, 1), [Epoch(EPOCH, 1)])
        other = Master("second")
        async with other.server:
            other.take_over(world.master, epoch=22)
            world.listen(other, OTHER)
            world.network.refuse(*PRIMARY)
            async with world.source(endpoints=[PRIMARY], from_copy=True) as source:
                await source.wait_live()
                assert source.state is State.LIVE
                assert source.statistics().endpoint == str(OTHER)

    simulate(scenario, pair_objects())


@pytest.mark.parametrize(("consistent", "expected"), [(False, 2021), (True, 3021)])
def test_the_port_of_the_other_master_is_chosen_at_the_loss(consistent: bool, expected: int) -> None:
    objects = pair_objects(port="3020")
    for kind, obj, _ in objects:
        if kind == APPLICATION and obj["name"] == "confserv":
            obj["portInfos"] = [{"id": "default", "port": "3020"}, {"id": "inner", "port": "2020"}]
        if kind == APPLICATION and obj["name"] == "second":
            obj["portInfos"] = [{"id": "default", "port": "2021"}, {"id": "inner", "port": "3021"}]

    async def scenario(simulation: Simulation, world: World) -> None:
        attempts = Attempts(simulation, world)
        async with world.source(endpoints=[PRIMARY]) as source:
            await source.wait_live()
            source.has_consistent_ports = consistent
            fail(world)
            await simulation.sleep(10)
        assert expected in attempts.ports()
        assert ({2021, 3021} - {expected}).isdisjoint(attempts.ports())

    simulate(scenario, objects)
