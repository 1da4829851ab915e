"""A master, the two proxies of a pair, and clients that follow it, in simulated time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio

from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model.enumerations import CfgHAType
from csproxy.core.standby import Role
from csproxy.core.wellknown import FIRST_FREE_DBID, well_known_objects
from csproxy.testing.memory import MemoryListener, MemoryNetwork
from csproxy.testing.simulation import Simulation
from csproxy.transport.client import ChangeStream, ConfigClient
from csproxy.transport.pair import PairMember
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.upstream import UpstreamSource
from tests.transport.trusting import AllTrusted
from tests.transport.upstream.upstream_world import APPLICATION, MASTER, Item, Master

NAMES = ("proxy1", "proxy2")
PORT = 2020
KEEP_ALIVE = KeepAlive(timeout_s=2.0, remote_timeout_s=2.0)
PATIENCE_S = 3.0
SKILLS = 10


def pair_objects() -> list[Item]:
    """The well-known objects and two proxies, the second the backup of the first."""
    objects: list[Item] = []
    for number, obj, folder in well_known_objects(proxies=[(name, PORT) for name in NAMES]):
        if number == APPLICATION and obj["name"] in NAMES:
            obj = {**obj, "redundancyType": int(CfgHAType.CFGHTWarmStanby)}
            if obj["name"] == NAMES[0]:
                obj["serverInfo"] = {**obj["serverInfo"], "backupServerDBID": FIRST_FREE_DBID + 1}
        objects.append((number, obj, folder))
    return objects


class Proxy:
    """One member: a process that can be started, stopped and killed."""

    def __init__(self, world: PairWorld, number: int) -> None:
        self.world = world
        self.number = number
        self.name = NAMES[number]
        self.roles: list[Role] = []
        self.server: ConfigurationServer
        self.member: PairMember
        self.source: UpstreamSource
        self._listener: MemoryListener | None = None
        self._scope: anyio.CancelScope | None = None
        self._ended = anyio.Event()

    async def start(self) -> None:
        """Start and wait until it takes part in the pair."""
        ready = anyio.Event()
        self._ended = anyio.Event()
        self.world.tasks.start_soon(self._run, ready)
        await ready.wait()

    async def _run(self, ready: anyio.Event) -> None:
        world, network = self.world, self.world.network
        connector = network.connector(self.name)
        with anyio.CancelScope() as self._scope:
            async with AsyncExitStack() as stack:
                self.server = ConfigurationServer(
                    role="proxy",
                    name=self.name,
                    authenticator=world.master.users,
                    writer=ReadOnlyWriter("read-only"),
                    random=world.simulation.rng.random,
                    random_bytes=world.simulation.random_bytes,
                )
                self.server.trust = AllTrusted()
                await stack.enter_async_context(self.server)
                self.source = UpstreamSource(
                    self.server, connector, [MASTER], self.name, random=world.simulation.rng.random
                )
                await stack.enter_async_context(self.source)
                await self.source.wait_live()
                self.member = PairMember(
                    self.server,
                    connector,
                    lambda: [Endpoint(NAMES[1 - self.number], PORT)],
                    application=self.name,
                    dbid=FIRST_FREE_DBID + self.number,
                    other=NAMES[1 - self.number],
                    is_configured_primary=self.number == 0,
                    keep_alive=KEEP_ALIVE,
                    patience_s=PATIENCE_S,
                    random=world.simulation.rng.random,
                    on_role=self.roles.append,
                )
                await stack.enter_async_context(self.member)
                self._listener = network.listen(self.name, PORT, self.server.connect)
                ready.set()
                await anyio.sleep_forever()
        self._ended.set()

    def _close_port(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def stop(self) -> None:
        """Stop in good order, as the daemon does."""
        await self.member.leave()
        self._close_port()
        await self.server.stop(grace_s=1.0)
        await self._cancel()

    async def kill(self) -> None:
        """As kill -9: the kernel resets the connections and nobody listens any more."""
        self._close_port()
        self.world.network.cut(self.name)
        await self._cancel()

    async def die(self, *, listens_s: float) -> None:
        """As `kill`, but the kernel takes a while: it ends the listening socket after the connections."""
        self._close_port()
        self.world.network.cut(self.name)
        dying = self.world.network.listen(self.name, PORT, lambda channel: channel.close(flush=False))
        await self._cancel()
        await anyio.sleep(listens_s)
        dying.close()

    async def freeze(self, *, for_s: float) -> None:
        """As SIGSTOP and SIGCONT, as far as others can see: nothing comes from it, new connections get no answer."""
        self.world.network.partition(self.name)
        await anyio.sleep(for_s)
        self.world.network.heal(self.name)

    async def _cancel(self) -> None:
        assert self._scope is not None
        self._scope.cancel()
        await self._ended.wait()

    @property
    def role(self) -> Role:
        return self.member.role


class Follower:
    """A client of the pair that is subscribed to everything, and what it was told."""

    def __init__(self, world: PairWorld, number: int) -> None:
        self.uens: list[int] = []
        self.client = ConfigClient(
            endpoints=[(name, PORT) for name in NAMES],
            user="default",
            password="secret",
            connector=world.network.connector(f"client{number}"),
            random=world.simulation.rng.random,
            random_bytes=world.simulation.random_bytes,
        )
        self.first = 0
        self.stream: ChangeStream | None = None

    async def run(self, ready: anyio.Event) -> None:
        async with self.client, self.client.subscribe() as self.stream:
            self.first = self.stream.position.uen
            ready.set()
            async for change in self.stream:
                self.uens.append(change.position.uen)


class PairWorld:
    """Everything together."""

    def __init__(self, simulation: Simulation, network: MemoryNetwork, master: Master, tasks: Any) -> None:
        self.simulation = simulation
        self.network = network
        self.master = master
        self.tasks = tasks
        self.first, self.second = Proxy(self, 0), Proxy(self, 1)
        self.followers: list[Follower] = []
        self._next_skill = SKILLS

    async def start(self, *, clients: int = 0) -> None:
        """Both members in the roles they were given, and clients that follow."""
        await self.first.start()
        await self.second.start()
        await self.until(lambda: (self.first.role, self.second.role) == (Role.PRIMARY, Role.STANDBY))
        await self.follow(clients)

    async def follow(self, clients: int) -> None:
        for _ in range(clients):
            follower = Follower(self, len(self.followers))
            self.followers.append(follower)
            ready = anyio.Event()
            self.tasks.start_soon(follower.run, ready)
            await ready.wait()
        await anyio.sleep(0.1)  # the last subscription is on its way to the standby

    def write(self) -> None:
        """One change at the master."""
        self.master.create_skills(self._next_skill)
        self._next_skill += 1

    async def until(self, condition: Callable[[], bool], *, limit_s: float = 60.0) -> None:
        with anyio.fail_after(limit_s):
            while not condition():  # noqa: ASYNC110 - time is simulated
                await anyio.sleep(0.01)

    async def settle(self) -> None:
        """One more change, and everybody has it."""
        self.write()
        head = self.master.server.position.uen
        await self.until(lambda: all(each.uens and each.uens[-1] == head for each in self.followers))

    def assert_exact(self) -> None:
        """Every client was told every change after it had begun, once and in order."""
        head = self.master.server.position.uen
        for number, each in enumerate(self.followers):
            assert each.uens == list(range(each.first + 1, head + 1)), number

    @property
    def restores(self) -> int:
        return sum(each.client.statistics().restores for each in self.followers)

    @property
    def registrations(self) -> int:
        """Beside the first of each."""
        return sum(each.client.statistics().registrations - 1 for each in self.followers)


@asynccontextmanager
async def pair_world(simulation: Simulation, *, clients: int = 0) -> AsyncIterator[PairWorld]:
    """A pair in its roles, with ``clients`` that follow it."""
    async with MemoryNetwork(simulation.rng, latency_s=(0.001, 0.01)) as network:
        master = Master()
        async with master.server:
            master.fill(pair_objects())
            network.listen(MASTER.host, MASTER.port, master.server.connect)
            master.create_skills(0, SKILLS)
            async with anyio.create_task_group() as tasks:
                world = PairWorld(simulation, network, master, tasks)
                if clients:
                    await world.start(clients=clients)
                yield world
                tasks.cancel_scope.cancel()
