"""The simulated proxies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio

from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.credentials import CredentialBook
from csproxy.core.failover import Endpoint
from csproxy.core.keepalive import KeepAlive
from csproxy.core.loading import CacheBuilder
from csproxy.core.replica import ReplicaSink
from csproxy.core.replication import State
from csproxy.core.standby import Role
from csproxy.daemon.persistent import master_answers, read_database
from csproxy.daemon.settings import DatabaseSettings
from csproxy.errors import CsproxyError
from csproxy.testing.histories import Began, History, Reload, RoleTaken
from csproxy.transport.channel import Connector
from csproxy.transport.forwarding import ForwardingLimits, ForwardingWriter
from csproxy.transport.local_copy import CopyLimits, LocalCopy
from csproxy.transport.pair import PairMember
from csproxy.transport.server import ConfigurationServer
from csproxy.transport.upstream import UpstreamLimits, UpstreamSource
from tests.simulation.members import membership
from tests.simulation.processes import PORT, Process

LIMITS = UpstreamLimits(connect_s=3.0, answer_s=5.0, load_s=20.0, refused_retry_s=2.0, compare_s=3.0)
KEEP_ALIVE = KeepAlive(timeout_s=6.0, remote_timeout_s=6.0)
FORWARDING_LIMITS = ForwardingLimits(answer_s=5.0, shown_s=2.0)
COPY_LIMITS = CopyLimits(block_bytes=2000, bytes_per_s=50_000, least_journal_changes=20, history_changes=30)


class Proxy(Process):
    """A proxy that follows the ``masters`` that it was told of; with ``folder`` it keeps a local copy there and
    starts from it."""

    def __init__(
        self,
        host: str,
        connector: Connector,
        masters: Sequence[str],
        history: History,
        folder: Path | None,
        url: str,
        *args: Any,
    ) -> None:
        super().__init__(host, *args)
        self._endpoints = [Endpoint(master, PORT) for master in masters]
        self._folder = folder
        self.starts_from_copy = 0
        self._connector = connector
        self._history = history
        self._database = DatabaseSettings(url=url, shown="the database", reconnect_s=1.0)
        self.source: UpstreamSource | None = None
        self.member: PairMember | None = None
        self.is_serving = False
        self.starts_from_database = 0
        self.gave_up: list[str] = []
        self.loads = 0
        self.resumes = 0
        self.comparisons = 0
        self.differences = 0

    async def run(self, stop: anyio.Event) -> None:
        async with self.make_server("proxy", self.host) as server:
            server.is_current = lambda: source.state is State.LIVE
            sink: ReplicaSink = WatchedSink(server, self.host, self._history.reloads.append)
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
            is_unconfirmed = await self._fill(sink, copy)
            position = server.position if is_unconfirmed else Position(0, 0)
            self._history.began.append(Began(self.sim.now(), self.host, position, self.plan.delay_reload_s))
            source = self._make_source(sink, from_copy=is_unconfirmed)
            if self.plan.writable:
                server.forwarder = ForwardingWriter(source, server, limits=FORWARDING_LIMITS)
            try:
                async with copy or nullcontext(), source:
                    await self._serve(server, source, stop)
            except CsproxyError as e:
                if self.is_serving:
                    self.gave_up.append(repr(e))
                raise
            finally:
                self.source, self.member, self.is_serving = None, None, False
                done = source.statistics()
                self.loads += done.loads
                self.resumes += done.resumes
                self.comparisons += done.digests.checks
                self.differences += done.digests.differences

    async def _fill(self, sink: ReplicaSink, copy: LocalCopy | None) -> bool:
        """Begin with what there is while no master answers; returns whether there is anything."""
        if self.plan.persistent:
            self._history.began.append(Began(self.sim.now(), self.host, Position(0, 0)))
            async with self._make_source(sink) as source:
                if await master_answers(source, timeout_s=1.0):
                    return False
            if await read_database(self._database, sink, CredentialBook(), timeout_s=2.0):
                self.starts_from_database += 1
                return True
        from_copy = copy is not None and await copy.load()
        self.starts_from_copy += from_copy
        return from_copy

    def _make_source(self, sink: ReplicaSink, *, from_copy: bool = False) -> UpstreamSource:
        return UpstreamSource(
            sink,
            self._connector,
            self._endpoints,
            self.host,
            delay_reload_s=self.plan.delay_reload_s,
            limits=LIMITS,
            keep_alive=KEEP_ALIVE,
            random=self.rng.random,
            from_copy=from_copy,
        )

    async def _serve(self, server: ConfigurationServer, source: UpstreamSource, stop: anyio.Event) -> None:
        self.source = source
        if self.plan.together or not self.plan.proxies_listen_early:
            await source.wait_data()
        connector, draw = self._connector, self.rng.random
        async with membership(server, self.plan, connector, random=draw, on_role=self._role_taken) as self.member:
            async with self.listening(server):
                await source.wait_data()
                self.is_serving = True
                await stop.wait()
                if self.member is not None:
                    await self.member.leave()
            await server.stop(grace_s=2.0)

    def _role_taken(self, role: Role) -> None:
        self._history.roles.append(RoleTaken(self.sim.now(), self.host, role))


def _common(position: Position, before: Sequence[Epoch], now: Sequence[Epoch]) -> int:
    """The last UEN of the history up to ``position`` that the history of the new table has, too."""
    names = [epoch.epoch for epoch in now]
    until = position.uen
    for epoch in reversed(before):
        if epoch.epoch in names:
            following = now[names.index(epoch.epoch) + 1 :]
            return min(until, following[0].first_uen - 1) if following else until
        until = min(until, epoch.first_uen - 1)
    return 0


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
            self._on_reload(Reload(self._host, _common(before, self.epochs, epochs), position.uen))
        self._server.replace(builder, position, epochs)

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        self._server.set_epochs(epochs)

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        self._server.extend_history(transactions)
