"""A server to which nobody has given an authenticator and a writer yet."""

from __future__ import annotations

import pytest

from csproxy.core.model import CfgSkill
from csproxy.errors import RetryableError
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.transport.client import ConfigClient
from csproxy.transport.connection import Connection
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.registration import RegisterClient
from tests.transport.upstream.upstream_world import MASTER, Master, base_objects

NAME, PORT = "proxy1", 2020
DESK = RegisterClient(type=19, name="default", user="default", password="secret")


def test_log_ins_and_changes_are_refused_for_now_until_something_takes_them() -> None:
    async def test(simulation: Simulation) -> None:
        async with MemoryNetwork(simulation.rng) as network:
            master = Master()
            async with master.server, ConfigurationServer(role="proxy", name=NAME) as server:
                master.fill(base_objects())
                network.listen(MASTER.host, MASTER.port, master.server.connect)
                network.listen(NAME, PORT, server.connect)
                connector = network.connector("desk")
                async with UpstreamSource(server, network.connector(NAME), [MASTER], NAME) as source:
                    await source.wait_live()
                    connection = await Connection.open(await connector(NAME, PORT), "desk")
                    with pytest.raises(RetryableError, match="starting") as refused:
                        await connection.register(DESK)
                    assert refused.value.retry_after_s == 1.0
                    await connection.aclose()
                    server.authenticator = master.users
                    async with ConfigClient(
                        NAME, PORT, user="default", password="secret", connector=connector
                    ) as client:
                        with pytest.raises(RetryableError, match="starting"):
                            await client.create(CfgSkill(name="French", tenantDBID=1))

    run_simulated(test, seed=1)
