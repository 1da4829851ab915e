"""The simulated processes: a master and proxies that can be stopped, killed and started again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.lease import Holder
from csproxy.core.loading import CacheBuilder
from csproxy.core.persistence.records import KeepPolicy
from csproxy.core.persistence.store import Store
from csproxy.core.replica import ReplicaSink
from csproxy.core.replication import State
from csproxy.core.sessions import Account
from csproxy.errors import CsproxyError, ErrorCode, ServerError, StoreError
from csproxy.testing.histories import Reload
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation
from csproxy.transport.channel import Connector
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.local_copy import CopyLimits, LocalCopy
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from csproxy.transport.upstream import UpstreamLimits, UpstreamSource
from tests.simulation.plan import RunPlan

PORT = 2020
KEEP_ALL = KeepPolicy(max_bytes=1 << 40)
LIMITS = UpstreamLimits(connect_s=3.0, answer_s=5.0, load_s=20.0, refused_retry_s=2.0, compare_s=3.0)
KEEP_ALIVE = KeepAlive(timeout_s=6.0, remote_timeout_s=6.0)
COPY_LIMITS = CopyLimits(block_bytes=2000, bytes_per_s=50_000, least_journal_changes=20, history_changes=30)
MAX_DETACHED = 6
MAX_OUTPUT_BYTES = 64 * 1024


class Process:
    """A process on a host of the network: `start`, `stop` (graceful), `crash` (its host answers with resets)
    and `power_off` (silence)."""

    def __init__(self, host: str, sim: Simulation, network: MemoryNetwork, tasks: TaskGroup, plan: RunPlan) -> None:
        self.host = host
        self.sim = sim
        self.network = network
        self.plan = plan
        self.rng = random.Random(f"{sim.seed} {host}")
        self.server: ConfigurationServer | None = None
        self.starts = 0
        self.parked = 0
        self.failures: list[str] = []
        self._tasks = tasks
        self._stop = anyio.Event()
        self._scope = anyio.CancelScope()
        self._ended: anyio.Event | None = None

    @property
    def is_running(self) -> bool:
        return self._ended is not None

    def start(self) -> None:
        """Start it in the background, unless it runs."""
        if self._ended is None:
            self.starts += 1
            self._stop, self._scope, self._ended = anyio.Event(), anyio.CancelScope(), anyio.Event()
            self._tasks.start_soon(self._main, self._scope, self._stop, self._ended)

    async def stop(self) -> None:
        """Stop it as its administrator would, and wait for that."""
        if self._ended is not None:
            ended = self._ended
            self._stop.set()
            await ended.wait()

    async def crash(self) -> None:
        """Kill it: the kernel resets its connections."""
        if self._ended is not None:
            ended = self._ended
            self.network.cut(self.host)
            self._scope.cancel()
            await ended.wait()

    async def power_off(self) -> None:
        """Pull the plug: nobody is told anything."""
        if self._ended is not None:
            ended = self._ended
            self.network.half_open(self.host)
            self._scope.cancel()
            await ended.wait()

    async def _main(self, scope: anyio.CancelScope, stop: anyio.Event, ended: anyio.Event) -> None:
        try:
            with scope:
                await self.run(stop)
        except (CsproxyError, ExceptionGroup) as e:
            causes = e.exceptions if isinstance(e, ExceptionGroup) else [e]
            self.failures.append(f"{self.sim.now():.3f} {'; '.join(map(repr, causes))}")
        finally:
            if self.server is not None:
                self.parked += self.server.fan_out.statistics().parked
            self.server = None
            self._ended = None
            ended.set()

    async def run(self, stop: anyio.Event) -> None:
        raise NotImplementedError

    def make_server(self, role: str) -> ConfigurationServer:
        plan = self.plan
        settings = ServerSettings(
            packet_bytes=plan.packet_bytes,
            max_client_output_bytes=MAX_OUTPUT_BYTES,
            mark_interval_s=plan.mark_interval_s,
            session_keep_s=60.0,
            max_detached_sessions=MAX_DETACHED,
            client_response_timeout_s=30.0,
            registration_timeout_s=5.0,
            history=plan.history,
        )
        self.server = ConfigurationServer(
            role=role,
            name="confserv" if role == "master" else self.host,
            authenticator=NoUsers(),
            writer=ReadOnlyWriter("this is a proxy"),
            random=self.rng.random,
            random_bytes=self.rng.randbytes,
            settings=settings,
        )
        self.server.fan_out._clients_per_turn = plan.clients_per_turn
        return self.server

    @asynccontextmanager
    async def listening(self, server: ConfigurationServer) -> AsyncIterator[None]:
        listener = self.network.listen(self.host, PORT, server.connect)
        try:
            yield
        finally:
            listener.close()


class NoUsers:
    """All clients are daemons."""

    async def authenticate(self, user: str, password: str) -> Account:
        raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, "there are no users here")


class Master(Process):
    """The master on its database; a share of its commits fails before or after it was made."""

    def __init__(self, url: str, *args: Any) -> None:
        super().__init__("master", *args)
        self.url = url
        self.commit_errors = 0

    async def run(self, stop: anyio.Event) -> None:
        async with (
            self.make_server("master") as server,
            DatabaseMaster(
                self.url,
                server,
                holder=Holder("confserv"),
                random_epoch=lambda: self.rng.randint(1, 2**53),
                hash_password=lambda password: password,
                wall_clock=self.sim.wall_clock,
                keep=KEEP_ALL,
            ) as database,
        ):
            await database.use_store(self._disturb)
            server.writer = database
            async with self.listening(server):
                await stop.wait()
            await server.stop(grace_s=2.0)

    def _disturb(self, store: Store) -> None:
        commit = store.commit

        def failing_commit(*args: Any, **more: Any) -> None:
            if self.rng.random() >= self.plan.commit_errors:
                commit(*args, **more)
                return
            self.commit_errors += 1
            if self.rng.random() < 0.5:
                commit(*args, **more)
            raise StoreError("the simulated disk failed while writing a change")

        store.commit = failing_commit  # type: ignore[method-assign]


class Proxy(Process):
    """A proxy that follows the master; with ``folder`` it keeps a local copy there and starts from it."""

    def __init__(
        self, host: str, connector: Connector, on_reload: Callable[[Reload], None], folder: Path | None, *args: Any
    ) -> None:
        super().__init__(host, *args)
        self._folder = folder
        self.starts_from_copy = 0
        self._connector = connector
        self._on_reload = on_reload
        self.source: UpstreamSource | None = None
        self.loads = 0
        self.resumes = 0
        self.comparisons = 0
        self.differences = 0

    async def run(self, stop: anyio.Event) -> None:
        async with self.make_server("proxy") as server:
            server.is_current = lambda: source.state is State.LIVE
            sink: ReplicaSink = WatchedSink(server, self.host, self._on_reload)
            copy: LocalCopy | None = None
            if self._folder is not None:
                sink = copy = LocalCopy(
                    sink,
                    server.replica,
                    self._folder,
                    self.host,
                    is_current=server.is_current,
                    random_bytes=self.rng.randbytes,
                    wall_clock=self.sim.wall_clock,
                    limits=COPY_LIMITS,
                )
            from_copy = copy is not None and await copy.load()
            self.starts_from_copy += from_copy
            source = UpstreamSource(
                sink,
                self._connector,
                [Endpoint("master", PORT)],
                self.host,
                delay_reload_s=self.plan.delay_reload_s,
                limits=LIMITS,
                keep_alive=KEEP_ALIVE,
                random=self.rng.random,
                from_copy=from_copy,
            )
            try:
                async with copy or nullcontext(), source:
                    self.source = source
                    if not self.plan.proxies_listen_early:
                        await source.wait_data()
                    async with self.listening(server):
                        await source.wait_data()
                        await stop.wait()
                    await server.stop(grace_s=2.0)
            finally:
                self.source = None
                done = source.statistics()
                self.loads += done.loads
                self.resumes += done.resumes
                self.comparisons += done.digests.checks
                self.differences += done.digests.differences


class WatchedSink:
    """Passes everything to the server and tells of reloads."""

    def __init__(self, server: ConfigurationServer, host: str, on_reload: Callable[[Reload], None]) -> None:
        self._server = server
        self._host = host
        self._on_reload = on_reload

    @property
    def position(self) -> Position:
        return self._server.position

    @property
    def cache(self) -> ConfigurationCache:
        return self._server.cache

    @property
    def epochs(self) -> Sequence[Epoch]:
        return self._server.epochs

    def publish(self, transaction: Sequence[Change]) -> None:
        self._server.publish(transaction)

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        before = self._server.position
        if before != (0, 0):
            self._on_reload(Reload(self._host, before.uen, position.uen))
        self._server.replace(builder, position, epochs)

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        self._server.set_epochs(epochs)

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        self._server.extend_history(transactions)


def read_database(url: str) -> tuple[list[Any], list[Epoch], dict[tuple[int, int], bytes], dict[tuple[int, int], int]]:
    """Change records, epochs, objects and folders of a database that no master has."""
    with Store.open(url) as store:
        records = [record for part in store.history() for record in part]
        objects, folders = {}, {}
        for part in store.load():
            for dbid, body, folder in zip(part.dbids, part.bodies, part.folders, strict=True):
                objects[part.type, dbid] = body
                folders[part.type, dbid] = folder
        return records, store.epochs(), objects, folders
