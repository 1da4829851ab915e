"""A crowd of clients on real processes: the actors of the simulation on real sockets and a real clock.

They record what they see as in a simulated run, and the same checker judges it.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA, CfgPerson
from csproxy.errors import CsproxyError
from csproxy.testing import FaultProxy
from csproxy.testing.checker import MasterLog, Violation, check
from csproxy.testing.histories import Answered, Final, History, WireHistory
from csproxy.testing.wiretap import TappedChannel
from csproxy.transport.channel import Channel, Connector
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_snapshot import Snapshot
from csproxy.transport.dial import connect_tcp
from csproxy.transport.wire.frames import FLAG_END, Frame
from csproxy.transport.wire.messages import decode_payload
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change
from csproxy.transport.wire.reads import ObjectsRead
from tests.daemon.servers import Running
from tests.own_ports import free_ports
from tests.simulation.actors import SimulatedClient
from tests.simulation.masters import read_database
from tests.simulation.subscribers import Subscriber
from tests.simulation.template import CLIENT_TYPE, PROXIES, Template
from tests.simulation.writers import WriterClient

CLIENTS = 200
WRITERS = 8
CATCH_UP_S = 60.0
_UNKNOWN_FLOOR = 1 << 60
"""Nobody outside a server's process knows how far its window reaches back."""


@dataclass(frozen=True)
class CrowdPlan:
    """What the actors ask of a plan."""

    step_s: float = 0.0
    ping_interval_s: float = 2.0
    write_pause_s: float = 1.0
    filler_bytes: int = 100


class Servers:
    """A master and two proxies as processes, each reached through a fault proxy, made from one template."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip(("master", *PROXIES), free_ports(3), strict=True))
        self.template = Template(clients=CLIENTS + 2, ports=tuple(self.ports[name] for name in PROXIES))
        self.database = folder / "config.db"
        with self.template.copy() as url:
            shutil.copyfile(url.removeprefix("sqlite:///"), self.database)
        self.doors: dict[str, FaultProxy] = {}
        self.running: dict[str, Running] = {}

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    def start(self, name: str) -> Running:
        """Start a server that is not running, and wait until it is ready."""
        if name == "master":
            conf = self.folder / "confserv.conf"
            conf.write_text(
                f"[confserv]\nport={self.ports[name]}\naddress=127.0.0.1\nserver=dbserver\n"
                f"[dbserver]\ndbengine=sqlite\ndbname={self.database}\n"
            )
            running = Running("confserv", "-c", str(conf), *self._log_to(name), cwd=self.folder)
        else:
            door = self.doors["master"]
            where = self.folder / name
            where.mkdir(exist_ok=True)
            words = ("-host", door.host, "-port", str(door.port), "-app", name)
            running = Running("confserv", *words, *self._log_to(name), cwd=where)
        self.running[name] = running
        running.line(containing="ready on")
        return running

    def _log_to(self, name: str) -> tuple[str, str]:
        # a pipe that nobody reads would stop the process
        return "-log-all", str(self.folder / f"{name}.log")

    def endpoint(self, name: str) -> tuple[str, int]:
        """Where clients connect to a server."""
        door = self.doors[name]
        return door.host, door.port

    @asynccontextmanager
    async def all_running(self) -> AsyncIterator[None]:
        """Everything is started, and ends whatever happened."""
        async with AsyncExitStack() as stack:
            for name, port in self.ports.items():
                self.doors[name] = await stack.enter_async_context(FaultProxy("127.0.0.1", port))
            try:
                for name in self.ports:
                    await anyio.to_thread.run_sync(self.start, name)
                yield
            finally:
                for running in self.running.values():
                    running.kill()


class Crowd:
    """The world of the actors: `SimulatedClient` asks it for time, connections and the record."""

    def __init__(self, servers: Servers, *, seed: int = 1) -> None:
        began = time.monotonic()
        self.servers = servers
        self.sim = SimpleNamespace(seed=seed, now=lambda: time.monotonic() - began)
        self.plan = CrowdPlan()
        self.template = servers.template
        self.history = History()
        self.notes: list[str] = []
        self.is_quiet = False
        self.is_over = False
        self.stream_numbers = itertools.count(1)
        self.tokens = itertools.count(1)
        self.names = itertools.count(1)
        self.longest_pause_s = 0.0
        self.failed_reads: list[str] = []
        self._wire_numbers = itertools.count(1)
        rng = random.Random(f"{seed} crowd")
        self.clients: list[SimulatedClient] = []
        for number in range(CLIENTS):
            is_writer = number < WRITERS
            hosts = ["master"] if is_writer else rng.sample(PROXIES, 2)
            kind = WriterClient if is_writer else Subscriber
            tenant = self.template.known["north"] if rng.random() < 0.2 else 0
            endpoints = [servers.endpoint(host) for host in hosts]
            self.clients.append(kind(self, number, endpoints, tenant=tenant))

    def note(self, text: str) -> None:
        self.notes.append(f"{self.sim.now():10.4f}  {text}")

    def connector(self, host: str, after: Callable[[], object] = lambda: None) -> Connector:
        async def tapped(to: str, port: int) -> Channel:
            channel = await connect_tcp(to, port)
            name = next(name for name, door in self.servers.doors.items() if door.port == port)
            wire = WireHistory(host, next(self._wire_numbers), name)
            self.history.wires.append(wire)
            return TappedChannel(channel, wire, clock=self.sim.now, floor=lambda: _UNKNOWN_FLOOR, after=after)

        return tapped

    def acknowledged(self, client: str) -> Position:
        for wire in reversed(self.history.wires):
            if wire.client == client:
                for event in reversed(wire.events):
                    if isinstance(event, Answered) and event.message in NOTIFICATIONS:
                        return event.position
        return Position(0, 0)

    async def run(
        self, trouble: Callable[[], Awaitable[None]], *, warm_up_s: float = 4.0, after_s: float = 2.0
    ) -> None:
        """Let everybody work, make ``trouble`` meanwhile, then wait until all have caught up."""
        async with anyio.create_task_group() as work:
            for client in self.clients:
                work.start_soon(client.run)
                await anyio.sleep(0.005)
            work.start_soon(self._read_steadily)
            await anyio.sleep(warm_up_s)
            self.longest_pause_s, self.failed_reads = 0.0, []
            await trouble()
            await anyio.sleep(after_s)
            self.is_quiet = True
            await self._settle()
            self.is_over = True
            work.cancel_scope.cancel()

    async def _read_steadily(self) -> None:
        """One client that reads through the proxies all the time: the longest pause, and what failed."""
        endpoints = [self.servers.endpoint(name) for name in PROXIES]
        name = f"client{CLIENTS}"
        async with ConfigClient(endpoints=endpoints, application=name, application_type=CLIENT_TYPE) as client:
            while True:
                began = time.monotonic()
                try:
                    await client.get(CfgPerson, 101)
                except CsproxyError as e:
                    self.failed_reads.append(str(e))
                self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - began)
                await anyio.sleep(0.02)

    async def _settle(self) -> None:
        """Everybody follows what there is, up to the last change."""
        with anyio.move_on_after(CATCH_UP_S):
            while not await self._is_settled():  # noqa: ASYNC110 - other processes tell nobody
                await anyio.sleep(0.5)
        self.history.is_quiet_at_end = True

    async def _is_settled(self) -> bool:
        heads = []
        for name in self.servers.ports:
            try:
                async with self._visitor(name) as client:
                    heads.append((await client.status())["uen"])
            except CsproxyError:
                return False
        followers = [client for client in self.clients if isinstance(client, Subscriber)]
        return (
            len(set(heads)) == 1
            and all(client.live and not client.starting for client in followers)
            and all(stream.position.uen == heads[0] for client in followers for stream in client.live)
        )

    def _visitor(self, name: str) -> ConfigClient:
        host, port = self.servers.endpoint(name)
        return ConfigClient(
            host, port, application=f"client{CLIENTS + 1}", application_type=CLIENT_TYPE, connect_wait_s=5.0
        )

    async def final_of(self, name: str) -> Final:
        """What a server holds now."""
        objects: dict[tuple[int, int], bytes] = {}
        folders: dict[tuple[int, int], int] = {}
        async with self._visitor(name) as client, Snapshot(await client.connection(), timeout_s=30) as snapshot:
            for kind in SCHEMA.types:

                def part(frame: Frame, kind: int = kind) -> None:
                    read = decode_payload(ObjectsRead, frame.payload)
                    for raw, folder in zip(read.objects, read.folders, strict=True):
                        dbid = codec.decode_map(raw)["DBID"]
                        objects[kind, dbid] = _without_members(kind, bytes(raw))
                        folders[kind, dbid] = folder

                await snapshot.read(kind, {"read_folder_dbid": 1}, on_part=part, timeout_s=30)
            return Final(name, snapshot.position, objects, folders)


def _without_members(kind: int, stored: bytes) -> bytes:
    from csproxy.core.folders import without_members

    return without_members(stored) if kind == 22 else stored


async def judged(
    servers: Servers, trouble: Callable[[Crowd], Awaitable[None]], **options: Any
) -> tuple[Crowd, list[Violation]]:
    """One run: everything started, trouble made, everybody caught up, and what the checker says."""
    async with servers.all_running():
        crowd = Crowd(servers)
        await crowd.run(lambda: trouble(crowd), **options)
        for name in servers.ports:
            crowd.history.finals.append(await crowd.final_of(name))
        for running in servers.running.values():
            await anyio.to_thread.run_sync(running.stop)
    records, epochs, objects, folders = read_database(servers.url)
    changes = [
        decode_change(Frame(each.action, FLAG_END if each.last else 0, 0, each.epoch, each.uen, each.payload))
        for each in records
    ]
    log = MasterLog(servers.template.objects, servers.template.folders, changes, epochs)
    head = changes[-1].position
    crowd.history.finals.append(Final("the database", head, objects, folders))
    assert log.head > 50, "too little was written"
    acknowledged = sum(write.outcome.value == "acknowledged" for write in crowd.history.writes)
    assert acknowledged > 30, "too few writes were acknowledged"
    assert sum(len(wire.events) for wire in crowd.history.wires) > 5_000, "too little was seen"
    return crowd, check(crowd.history, log)


def transcript_of(crowd: Crowd, violations: list[Violation]) -> str:
    """For a person: what is wrong, and the notes."""
    return "\n".join([*map(str, violations[:20]), *crowd.notes[-40:]])
