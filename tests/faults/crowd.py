"""A crowd of clients on real processes: the actors of the simulation on real sockets and a real clock.

They record what they see as in a simulated run, and the same checker judges it.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.folders import without_members
from csproxy.core.model import SCHEMA, CfgPerson, CfgSkill
from csproxy.errors import CsproxyError, ServerError
from csproxy.testing.checker import MasterLog, Violation, check
from csproxy.testing.histories import Answered, Final, History, Outcome, WireHistory
from csproxy.testing.wiretap import TappedChannel
from csproxy.transport.channel import Channel, Connector
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_snapshot import Snapshot
from csproxy.transport.dial import connect_tcp
from csproxy.transport.wire.frames import FLAG_END, Frame
from csproxy.transport.wire.messages import decode_payload
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change
from csproxy.transport.wire.reads import ObjectsRead
from tests.faults.servers import MASTERS, Servers
from tests.simulation.actors import SimulatedClient
from tests.simulation.masters import read_database
from tests.simulation.plan import RunPlan
from tests.simulation.subscribers import Subscriber
from tests.simulation.template import CLIENT_TYPE, FOLDER, PROXIES
from tests.simulation.writers import WriterClient

CLIENTS = 200
APPLICATIONS = CLIENTS + 2
"""One more reads without a pause, and one asks servers how they stand."""
WRITERS = 8
AT_MASTERS = 20
"""Clients of the masters themselves, writers included; the others are clients of the proxies."""
HANG_S = 120.0
_UNKNOWN_FLOOR = 1 << 60
"""Nobody outside a server's process knows how far its window reaches back."""
_PLAN = replace(RunPlan.draw(1), step_s=0.0, ping_interval_s=5.0, write_pause_s=0.5, filler_bytes=100, writable=False)
"""What the actors ask of the plan of a run."""


class Crowd:
    """The world of the actors: `SimulatedClient` asks it for time, connections and the record."""

    def __init__(self, servers: Servers, *, seed: int = 1) -> None:
        began = time.monotonic()
        self.servers = servers
        self.sim = SimpleNamespace(seed=seed, now=lambda: time.monotonic() - began)
        self.plan = _PLAN
        self.template = servers  # what it knows by name
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
            hosts = rng.sample(MASTERS if number < AT_MASTERS else PROXIES, 2)
            kind = WriterClient if is_writer else Subscriber
            tenant = self.template.known["north"] if rng.random() < 0.2 else 0
            endpoints = [servers.endpoint(host) for host in hosts]
            client = kind(self, number, endpoints, tenant=tenant)
            # real time goes on while other tests have the processors
            client.attempt_timeout_s, client.request_timeout_s = 10.0, 30.0
            client.pace = 1.0 if is_writer else 4.0
            self.clients.append(client)

    def note(self, text: str) -> None:
        self.notes.append(f"{self.sim.now():10.4f}  {text}")

    def connector(self, host: str, after: Callable[[], object] = lambda: None) -> Connector:
        async def tapped(to: str, port: int) -> Channel:
            channel = await connect_tcp(to, port)
            wire = WireHistory(host, next(self._wire_numbers), self.servers.name_of(port))
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

    async def run(self, trouble: Callable[[], Awaitable[None]]) -> None:
        """Let everybody work, make ``trouble`` meanwhile, then wait until all have caught up."""
        async with anyio.create_task_group() as work:
            for client in self.clients:
                work.start_soon(client.run)
                await anyio.sleep(0.005)  # so that they are not in step
            work.start_soon(self._read_steadily)
            await self.until(lambda: all(client.live for client in self.followers))
            await self.more_writes()
            self.longest_pause_s, self.failed_reads = 0.0, []
            await trouble()
            await self.more_writes()
            self.is_quiet = True
            await self._settle()
            self.is_over = True
            work.cancel_scope.cancel()

    @property
    def followers(self) -> list[SimulatedClient]:
        """Those who have subscribed."""
        return [client for client in self.clients if isinstance(client, Subscriber)]

    def writes(self, outcome: Outcome = Outcome.ACKNOWLEDGED) -> int:
        """How many writes came to this end so far."""
        return sum(write.outcome is outcome for write in self.history.writes)

    async def more_writes(self, count: int = 20, *, outcome: Outcome = Outcome.ACKNOWLEDGED) -> None:
        """Wait until so many more writes have come to this end."""
        wanted = self.writes(outcome) + count
        await self.until(lambda: self.writes(outcome) >= wanted)

    async def refusal(self) -> ServerError:
        """Try to write until that is refused for a reason that lies with the server, while reads go on there."""
        with anyio.fail_after(HANG_S):
            async with self.visitor(*MASTERS) as client:
                while True:
                    name = f"visitor {next(self.names)}"
                    try:
                        await client.create(CfgSkill(name=name, tenantDBID=1))
                    except ServerError as e:
                        await client.get(CfgPerson, 101)
                        return e

    async def until_status(self, name: str, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until a server's own account of itself is like that."""
        with anyio.fail_after(HANG_S):
            async with self.visitor(name) as client:
                while not condition(await client.status()):  # noqa: ASYNC110 - another process tells nobody
                    await anyio.sleep(0.1)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the actors do."""
        with anyio.fail_after(HANG_S):
            while not condition():  # noqa: ASYNC110 - histories tell nobody
                await anyio.sleep(0.05)

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
        """Everybody follows what there is, up to the last change; the checker names who does not."""
        with anyio.move_on_after(HANG_S) as scope:
            while not await self._is_settled():  # noqa: ASYNC110 - other processes tell nobody
                await anyio.sleep(0.5)
        if scope.cancelled_caught:
            self.note(f"not everybody had caught up after {HANG_S:.0f} s")
        self.history.is_quiet_at_end = True

    async def _is_settled(self) -> bool:
        heads = []
        for names in (MASTERS, *zip(PROXIES)):
            try:
                async with self.visitor(*names) as client:
                    heads.append((await client.status())["uen"])
            except CsproxyError:
                return False
        return (
            len(set(heads)) == 1
            and not any(client.is_writing for client in self.clients)
            and all(client.live and not client.starting for client in self.followers)
            and all(stream.position.uen == heads[0] for client in self.followers for stream in client.live)
        )

    def visitor(self, *names: str) -> ConfigClient:
        """A client of one of these servers that nobody watches."""
        return ConfigClient(
            endpoints=[self.servers.endpoint(name) for name in names],
            application=f"client{CLIENTS + 1}",
            application_type=CLIENT_TYPE,
            connect_wait_s=30.0,
        )

    async def final_of(self, *names: str) -> Final:
        """What the one of these servers that serves holds now."""
        objects: dict[tuple[int, int], bytes] = {}
        folders: dict[tuple[int, int], int] = {}
        async with self.visitor(*names) as client, Snapshot(await client.connection(), timeout_s=30) as snapshot:
            for kind in SCHEMA.types:

                def part(frame: Frame, kind: int = kind) -> None:
                    read = decode_payload(ObjectsRead, frame.payload)
                    for raw, folder in zip(read.objects, read.folders, strict=True):
                        dbid = codec.decode_map(raw)["DBID"]
                        objects[kind, dbid] = without_members(bytes(raw)) if kind == FOLDER else bytes(raw)
                        folders[kind, dbid] = folder

                await snapshot.read(kind, {"read_folder_dbid": 1}, on_part=part, timeout_s=30)
            return Final(names[0], snapshot.position, objects, folders)


async def judged(servers: Servers, trouble: Callable[[Crowd], Awaitable[None]]) -> tuple[Crowd, Sequence[Violation]]:
    """One run: everything started, trouble made, everybody caught up, and what the checker says."""
    async with servers.all_running():
        crowd = Crowd(servers)
        await crowd.run(lambda: trouble(crowd))
        for names in (MASTERS, *zip(PROXIES)):
            crowd.history.finals.append(await crowd.final_of(*names))
        await servers.stop_all()
    records, epochs, objects, folders = read_database(servers.url)
    changes = [
        decode_change(Frame(each.action, FLAG_END if each.last else 0, 0, each.epoch, each.uen, each.payload))
        for each in records
    ]
    log = MasterLog(servers.objects, servers.folders, changes, epochs)
    crowd.history.finals.append(Final("the database", changes[-1].position, objects, folders))
    assert log.head > 50, "too little was written"
    assert sum(len(wire.events) for wire in crowd.history.wires) > 5_000, "too little was seen"
    return crowd, check(crowd.history, log)


def transcript_of(crowd: Crowd, violations: Sequence[Violation]) -> str:
    """For a person: what is wrong, and the notes."""
    return "\n".join([*map(str, violations[:20]), *crowd.notes[-40:]])
