"""A master, a real proxy that serves clients, and one client of it, in simulated time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from upstream_world import BACKUP, MASTER, World, make_world, skill

from csproxy.core.model import SCHEMA
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation
from csproxy.transport.client import ChangeStream, ConfigClient
from csproxy.transport.client_changes import ObjectChange
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.upstream import UpstreamLimits, UpstreamSource


class Site:
    """A master with ten skills, a proxy that serves clients, and one client of it that is subscribed to everything."""

    def __init__(self, world: World, proxy: ConfigurationServer, source: UpstreamSource, client: ConfigClient) -> None:
        self.world = world
        self.master = world.master
        self.proxy = proxy
        self.source = source
        self.client = client
        self.told: list[ObjectChange] = []
        self.shown = {n: skill(n)["name"] for n in range(10)}

    def assert_same(self) -> None:
        theirs, ours = self.master.server.cache, self.proxy.cache
        assert ours.position.uen == theirs.position.uen
        for number in SCHEMA.types:
            ours.forget_digest(number)
            assert ours.digest(number) == theirs.digest(number), number

    async def until_healed(self, count: int = 1, *, limit_s: float = 120.0) -> None:
        """Property P12: within two minutes."""
        with anyio.fail_after(limit_s):
            while self.source.digests.statistics.healed < count:  # noqa: ASYNC110 - time is simulated
                await anyio.sleep(0.1)
        await anyio.sleep(0.5)

    async def listen(self, changes: ChangeStream) -> None:
        async for change in changes:
            self.told.append(change)


@asynccontextmanager
async def make_site(
    simulation: Simulation, *, limits: UpstreamLimits | None = None, **options: Any
) -> AsyncIterator[Site]:
    network = MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01))
    async with make_world(network=network) as world:
        world.master.create_skills(0, 10)
        proxy = ConfigurationServer(
            role="proxy",
            name="proxy1",
            authenticator=world.master.users,
            writer=ReadOnlyWriter("read-only"),
            random=lambda: 0.5,
            random_bytes=simulation.random_bytes,
        )
        source = UpstreamSource(
            proxy, network.connector("proxy"), [MASTER, BACKUP], "proxy1", limits=limits, random=lambda: 0.5, **options
        )
        client = ConfigClient(
            "proxy", 2020, user="default", password="secret", connector=network.connector("client"), random=lambda: 0.1
        )
        async with proxy, source:
            await source.wait_live()
            network.listen("proxy", 2020, proxy.connect)
            async with client, client.subscribe() as changes, anyio.create_task_group() as tasks:
                site = Site(world, proxy, source, client)
                tasks.start_soon(site.listen, changes)
                yield site
                assert client.statistics().reconnects == 0, "a client was disconnected"
                assert proxy.statistics().clients == 1
                tasks.cancel_scope.cancel()
