"""The keep-alive of a proxy and its master comes from the Connection of the proxy's Application, and follows it."""

from __future__ import annotations

from typing import Any

import pytest
from test_upstream_time import simulate
from upstream_world import APPLICATION, PROXY, World, base_objects, until

from csproxy.core.changes import Action
from csproxy.core.keepalive import KeepAlive, Trace
from csproxy.testing.simulation import Simulation
from csproxy.transport.upstream import KEEP_ALIVE

MASTER_DBID = 99


def connection(local_s: int, remote_s: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "appServerDBIDs": [
            {
                "appServerDBID": MASTER_DBID,
                "connProtocol": "addp",
                "timoutLocal": local_s,
                "timoutRemote": remote_s,
                **more,
            }
        ]
    }


def test_a_silent_master_is_lost_in_the_time_of_the_connection() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source() as source:
            await source.wait_live()
            assert source.keep_alive == KeepAlive(timeout_s=4, remote_timeout_s=6, trace=Trace.LOCAL)
            await simulation.sleep(60)
            assert source.statistics().losses == 0
            world.network.partition("master")
            began = simulation.now()
            await until(lambda: source.statistics().losses == 1, limit_s=100)
            assert simulation.now() - began <= 8.1

    simulate(scenario, objects=base_objects(**connection(4, 6, mode=2)))


def test_the_master_finds_a_proxy_that_is_frozen() -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source() as source:
            await source.wait_live()
            await simulation.sleep(1)
            world.network.half_open("proxy")
            began = simulation.now()
            await until(lambda: not len(world.master.server.sessions), limit_s=100)
            assert simulation.now() - began <= 12.6

    simulate(scenario, objects=base_objects(**connection(0, 6)))


@pytest.mark.parametrize("more", [{"connProtocol": "simple"}, {"appServerDBID": 100}])
def test_without_a_connection_of_protocol_addp_the_defaults_hold(more: dict[str, Any]) -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async with world.source() as source:
            await source.wait_live()
            assert source.keep_alive == KEEP_ALIVE

    simulate(scenario, objects=base_objects(**connection(4, 6, **more)))


def test_a_change_of_the_connection_counts_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(simulation: Simulation, world: World) -> None:
        async def change(local_s: int, remote_s: int) -> None:
            wanted = {"changed": connection(local_s, remote_s, id="")["appServerDBIDs"]}
            world.master.publish((Action.UPDATED, APPLICATION, {"DBID": PROXY, "appServerDBIDs": wanted}))
            await world.caught_up()
            source.apply_connection()

        async with world.source() as source:
            await source.wait_live()
            await change(2, 3)
            assert source.keep_alive == KeepAlive(timeout_s=2, remote_timeout_s=3)
            await change(3601, 0)
            assert source.keep_alive == KeepAlive(timeout_s=2, remote_timeout_s=3)
            assert "keep-alive timeout of 3601.0 s" in caplog.text
            await simulation.sleep(1)
            world.network.partition("master")
            began = simulation.now()
            await until(lambda: source.statistics().losses == 1, limit_s=100)
            assert simulation.now() - began <= 4.1

    simulate(scenario, objects=base_objects(**connection(40, 60)))
