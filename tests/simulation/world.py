"""One run: a master, two proxies and clients on a simulated network, from a seed to a checked history."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from csproxy.core.changes import Change, Epoch, Position
from csproxy.core.security_records import STORED_TYPES
from csproxy.testing.checker import MasterLog, Violation, check
from csproxy.testing.histories import (
    Announced,
    Answered,
    Asked,
    Bound,
    Final,
    History,
    Notified,
    PairFinal,
    WireHistory,
)
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.simulation import Simulation, run_simulated
from csproxy.testing.wiretap import TappedChannel
from csproxy.transport.channel import Channel, Connector
from csproxy.transport.exchange import EpochOrder
from csproxy.transport.wire.frames import FLAG_END, Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change
from tests.simulation.actors import SimulatedClient
from tests.simulation.disks import simulated_disks
from tests.simulation.faults import Faults
from tests.simulation.limited import LimitedSubscriber, Officer
from tests.simulation.masters import Master, on_machines, read_database
from tests.simulation.member_faults import MemberFaults
from tests.simulation.member_traffic import member_traffic
from tests.simulation.members import finals_of, has_settled, known_servers
from tests.simulation.plan import PAIR, POOL, RunPlan
from tests.simulation.planting import plant
from tests.simulation.processes import MAX_OUTPUT_BYTES, PORT, Process
from tests.simulation.proxies import Proxy
from tests.simulation.site_operator import Operator
from tests.simulation.subscribers import Bystander, Subscriber
from tests.simulation.surroundings import LoggedErrors, full_at
from tests.simulation.template import BALANCER, CLIENTS, PERSON, PROXIES, Template
from tests.simulation.writers import WriterClient

CATCH_UP_S = 240.0
"""Simulated seconds after the last fault within which everybody must have caught up."""
PEACE_S = 12.0
"""How long after the last fault a pair changes roles once more: its link is there again, whoever was silent."""


@dataclass
class Report:
    """What came of one seed."""

    seed: int
    violations: list[Violation]
    traffic: dict[str, int]
    faults: dict[str, int]
    transcript: list[str] = field(repr=False)
    notes: list[str] = field(repr=False)

    @property
    def digest(self) -> str:
        """One number for everything that happened."""
        return hashlib.sha256("\n".join([*self.transcript, *self.notes]).encode()).hexdigest()


def run_seed(seed: int, *, plant: bool = False) -> Report:
    """Run one seed to its end and judge it; with ``plant``, the proxies' data goes wrong in the end."""
    plan = RunPlan.draw(seed)
    template = Template(
        clients=CLIENTS + (3 if plan.limited else 0) + plan.crowd,
        pair=plan.pair,
        limited=plan.limited > 0,
        together=plan.together,
        link_timeout_s=plan.link_timeout_s,
        ports=(PORT, PORT) if plan.together else (2021, 2021),
    )
    with template.copy() as url, LoggedErrors() as errors:
        with simulated_disks():
            world = run_simulated(
                lambda sim: _run(sim, plan, template, url, plant=plant), seed=seed, time_limit_s=2000.0
            )
        records, epochs, objects, folders = read_database(url)
    earlier = [_log(template, *replaced) for replaced in world.operator.replaced]
    log = _log(template, records, epochs, earlier)
    history = world.history
    head = Position(records[-1].epoch, records[-1].uen) if records else Position(epochs[0].epoch, 0)
    history.finals.append(Final("the database", head, objects, folders))
    violations = check(history, log)
    violations += list(world.differences())
    violations += [Violation("internal error", "log", text) for text in errors.texts]
    return Report(seed, violations, world.traffic(log), world.faults.made, list(history.transcript()), world.notes)


async def _run(sim: Simulation, plan: RunPlan, template: Template, url: str, *, plant: bool) -> World:
    world = World(sim, plan, template, url, plant=plant)
    await world.run()
    return world


class World:
    """The run's components and its record."""

    def __init__(self, sim: Simulation, plan: RunPlan, template: Template, url: str, *, plant: bool = False) -> None:
        self.sim = sim
        self.plan = plan
        self.template = template
        self.rng = random.Random(f"{sim.seed} clients")
        self.history = History()
        self.notes: list[str] = []
        self.is_quiet = False
        self.is_over = False
        self.network = MemoryNetwork(
            random.Random(f"{sim.seed} network"),
            latency_s=self.plan.latency_s,
            window_bytes=self.plan.window_bytes,
            connect_timeout_s=3.0,
        )
        self.stream_numbers = itertools.count(1)
        self.tokens = itertools.count(1)
        self.names = itertools.count(1)
        self.masters: list[Master] = []
        self.proxies: list[Proxy] = []
        self.clients: list[SimulatedClient] = []
        self.hosts: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.faults = Faults(self)
        self.operator = Operator(self, url)
        self.work: TaskGroup
        self.plants = plant
        self.planted: dict[str, int] = {}
        self._wire_numbers = itertools.count(1)
        self._url = url
        self._most: dict[str, float] = {}
        self._log_limit = 0.0

    @property
    def processes(self) -> list[Process]:
        """Masters, then proxies."""
        return [*self.masters, *self.proxies]

    def note(self, text: str) -> None:
        """Something for the transcript only."""
        self.notes.append(f"{self.sim.now():10.4f}  {text}")

    async def run(self) -> None:
        """Everything, in order."""
        with full_at(self.plan.high_water_bytes), on_machines(self.masters, same=self.plan.same_machine):
            await self._run()

    async def _run(self) -> None:
        async with self.network, anyio.create_task_group() as tasks:
            self._make_processes(tasks)
            self._make_clients()
            async with anyio.create_task_group() as work:
                self.work = work
                for client in self.clients:
                    work.start_soon(client.run)
                work.start_soon(self._watch)
                work.start_soon(self._watch_over_processes)
                work.start_soon(self.faults.notice_dead_peers)
                await self._make_trouble()
                await self._settle()
                self.is_over = True
                self._finish()
                work.cancel_scope.cancel()
            if self.plants:
                await self._plant_and_heal()
            for process in self.processes:
                await process.stop()
            tasks.cancel_scope.cancel()

    def _make_processes(self, tasks: TaskGroup) -> None:
        common = (self.sim, self.network, tasks, self.plan)
        hosts = ["master", "backup"] if self.plan.pair else ["master"]
        self.masters += [Master(host, self._url, *common) for host in hosts]
        known = hosts if self.plan.proxies_know_both else hosts[:1]
        folder = Path(self._url.removeprefix("sqlite:///")).parent if self.plan.local_copies else None
        for host in PROXIES:
            proxy = Proxy(
                host, self.connector(host, self._count_loads), known, self.history, folder, self._url, *common
            )
            self.proxies.append(proxy)
            self.links += [(host, master) for master in hosts]
        self.hosts += [process.host for process in self.processes]
        for process in self.processes:
            process.start()
        if self.plan.together == POOL:
            self.network.balance(BALANCER, PORT, [(host, PORT) for host in PROXIES])
        elif self.plan.together == PAIR:
            self.links.append(PROXIES)

    def _make_clients(self) -> None:
        rng = self.rng
        for number in range(self.plan.clients + self.plan.writers):
            is_writer = number < self.plan.writers
            hosts = (
                self._writable_hosts(number)
                if is_writer
                else rng.sample(["master", *PROXIES, *PROXIES], rng.randint(1, 3))
            )
            if self.plan.together:
                own = random.Random(f"{self.sim.seed} servers of client {number}")
                hosts = known_servers(self.plan, own, writes=is_writer)
            if self.plan.pair and "master" in hosts:
                hosts.insert(hosts.index("master") + rng.randint(0, 1), "backup")
            endpoints = [(host, PORT) for host in dict.fromkeys(hosts)]
            kind = WriterClient if is_writer else Subscriber
            tenant = self.template.known["north"] if rng.random() < 0.3 else 0
            self._add(kind(self, number, endpoints, tenant=tenant))
        if self.plan.limited:
            self._add_limited()
        for _ in range(self.plan.crowd):
            number = len(self.clients)
            own = random.Random(f"{self.sim.seed} servers of client {number}")
            hosts = known_servers(self.plan, own, writes=False)
            self._add(Bystander(self, number, [(host, PORT) for host in hosts], tenant=0))

    def _add(self, client: SimulatedClient) -> None:
        self.clients.append(client)
        self.hosts.append(client.name)
        for host, _ in client.endpoints:
            self.links += [(client.name, each) for each in (PROXIES if host == BALANCER else (host,))]

    def _add_limited(self) -> None:
        """Subscribers that read a part, and who changes what that is."""
        rng = random.Random(f"{self.sim.seed} limited clients")
        masters = [master.host for master in self.masters]
        for n in range(self.plan.limited):
            hosts = rng.sample(["master", *PROXIES], rng.randint(1, 3))
            if self.plan.together:
                hosts = known_servers(self.plan, rng, writes=False)
            if self.plan.pair and "master" in hosts:
                hosts.insert(hosts.index("master") + 1, "backup")
            client = LimitedSubscriber(self, len(self.clients), [(host, PORT) for host in hosts], tenant=0)
            client.user = f"limited{n}"
            self.history.accounts[client.name] = (PERSON, self.template.known[client.user])
            self._add(client)
        self._add(Officer(self, len(self.clients), [(host, PORT) for host in masters], tenant=0))

    def _writable_hosts(self, number: int) -> list[str]:
        """Where a writer writes, in the order in which it tries them."""
        if not self.plan.writable:
            return ["master"]
        rng = random.Random(f"{self.sim.seed} writer {number}")
        return rng.sample(["master", *PROXIES], rng.randint(1, 3))

    async def _make_trouble(self) -> None:
        async with anyio.create_task_group() as trouble:
            trouble.start_soon(self.faults.run)
            await anyio.sleep(self.plan.duration_s)
            trouble.cancel_scope.cancel()
        self.faults.freeze()
        await anyio.sleep(1.0)
        self.is_quiet = True
        if self.plan.last_switch:
            await anyio.sleep(PEACE_S)
            self.history.quiet_from_s = self.sim.now()
            await MemberFaults(self.faults).switch_in_peace(self.plan.last_switch)

    async def _settle(self) -> None:
        """Wait until everybody has caught up, or ought to have."""
        deadline = self.sim.now() + CATCH_UP_S
        left = looks = 2 if self.plan.together else 1  # who has been sent away is under way at the first
        while self.sim.now() < deadline and left:
            left = left - 1 if self._is_settled() else looks
            if left:
                await anyio.sleep(1.0)
        self.history.is_quiet_at_end = True

    async def _watch_over_processes(self) -> None:
        """Start again what has ended by itself, as a service manager would."""
        while True:
            await anyio.sleep(1.0)
            for process in self.processes:
                if process.is_wanted:
                    process.start()

    def _is_settled(self) -> bool:
        servers = [process.server for process in self.processes]
        if any(server is None or not server.replica.complete for server in servers):
            return False
        head = servers[0].position.uen  # type: ignore[union-attr]
        epochs = {epoch.epoch for epoch in servers[0].epochs}  # type: ignore[union-attr]
        order = EpochOrder(servers[0].epochs)  # type: ignore[union-attr]
        streams = [stream for client in self.clients for stream in client.live]
        wanted = sum(1 for client in self.clients if isinstance(client, Subscriber))
        busy = sum(1 for client in self.clients if client.live)
        return (
            self.sim.now() > self.plan.duration_s + 10
            and sum(master.is_primary for master in self.masters) == 1
            and busy == wanted
            and not any(client.starting or client.is_writing for client in self.clients)
            and (self.plan.together != PAIR or has_settled(self._pair_finals(), self.history.wires))
            and all(server.position.uen == head for server in servers)  # type: ignore[union-attr]
            and all(stream.position.uen == head and stream.position.epoch in epochs for stream in streams)
            and not any(order.rules_out(stream.position) for stream in streams)  # the same UEN of an ended history
        )

    async def _plant_and_heal(self) -> None:
        """Make the proxies' data wrong without telling anybody; two minutes later it must be right."""
        rng = random.Random(f"{self.sim.seed} planted")
        for proxy in self.proxies:
            if proxy.server is not None:
                self.planted[proxy.host] = plant(proxy.server.cache, rng)
                self.note(f"{proxy.host}: {self.planted[proxy.host]} types made wrong")
        await anyio.sleep(120.0)
        for proxy in self.proxies:
            self._final(proxy)

    def differences(self) -> Iterator[Violation]:
        """P12: comparisons find what was planted, and nothing else. P22: who serves goes on without a restart."""
        for proxy in self.proxies:
            planted = self.planted.get(proxy.host, 0)
            if proxy.differences != planted:
                yield Violation("P12 same", proxy.host, f"{proxy.differences} types differed, {planted} were planted")
            for reason in proxy.gave_up:
                yield Violation("P22 honest copy", proxy.host, f"it ended while it served: {reason}")

    def _finish(self) -> None:
        for client in self.clients:
            client.sample()
            if isinstance(client, Subscriber) and not client.live:
                self.note(f"{client.name} follows nothing at the end")
        self.history.pair_finals += self._pair_finals()
        for process in self.processes:
            self._final(process)
            for failure in process.failures:
                self.note(f"{process.host} failed: {failure}")
        frame = 2 * self.plan.filler_bytes + 1_000
        if self.plan.load_max:
            self._bound("loads at once at a master", self.plan.load_max, "P18 upstream herd")
        self._bound("detached sessions", self.plan.max_detached)
        # beside a full channel: a piece of changes, a piece of a replay, and small answers that are made at once
        self._bound("bytes waiting for one client", 3 * self.plan.high_water_bytes + MAX_OUTPUT_BYTES + 60 * frame)
        limits = self.plan.history
        self._bound("bytes of a change log", limits.max_bytes + (limits.min_changes + 200) * frame)

    def _pair_finals(self) -> list[PairFinal]:
        return finals_of(((each.host, each.member, each.server) for each in self.proxies), now_s=self.sim.now())

    def _final(self, process: Process) -> None:
        """What the process holds now."""
        if process.server is not None:
            cache = process.server.cache
            keys = [(kind, dbid) for kind in STORED_TYPES for dbid in cache.dbids(kind)]
            objects = {key: cache.get(*key) or b"" for key in keys}
            folders = {key: cache.folder_of(*key) for key in keys}
            self.history.finals.append(Final(process.host, process.server.position, objects, folders))

    def _bound(self, name: str, limit: float, property_: str = "P16 bounded") -> None:
        self.history.bounds.append(Bound(name, self._most.get(name, 0.0), limit, property_))

    async def _watch(self) -> None:
        """Sample what must stay bounded."""
        while True:
            await anyio.sleep(0.2)
            for proxy in self.proxies:
                if proxy.is_serving and proxy.source is not None and not proxy.is_frozen:
                    announced = Announced(self.sim.now(), proxy.host, proxy.source.serves_copy)
                    self.history.announced.append(announced)
            for process in self.processes:
                server = process.server
                if server is None:
                    continue
                now = server.statistics()
                pending = max((connection.channel.pending_bytes for connection in server._connections), default=0)
                for name, value in (
                    ("detached sessions", now.detached_sessions),
                    ("bytes waiting for one client", pending),
                    ("bytes of a change log", now.log.frame_bytes),
                ):
                    self._note_most(name, value)

    def _note_most(self, name: str, value: float) -> None:
        self._most[name] = max(self._most.get(name, 0.0), value)

    def _count_loads(self) -> None:
        """How many proxies read from a master's load slots at this moment; only they open snapshots for long."""
        for master in self.masters:
            if master.server is not None:
                loading = [
                    connection
                    for connection in master.server._connections
                    if connection.snapshots and connection.session and connection.session.application in PROXIES
                ]
                self._note_most("loads at once at a master", len(loading))

    # what clients and proxies use

    def connector(self, host: str, after: Callable[[], object] = lambda: None) -> Connector:
        """Connections from ``host``, each with a tap."""
        connect = self.network.connector(host)

        async def tapped(to: str, port: int) -> Channel:
            channel = await connect(to, port)
            server = channel.peer.rpartition(":")[0]  # that to which a balancer has led
            wire = WireHistory(host, next(self._wire_numbers), server)
            self.history.wires.append(wire)
            return TappedChannel(channel, wire, clock=self.sim.now, floor=lambda: self._floor(server), after=after)

        return tapped

    def _floor(self, host: str) -> int:
        server = next((process.server for process in self.processes if process.host == host), None)
        return 0 if server is None else server.log.floor.uen

    def acknowledged(self, client: str) -> Position:
        """The position in the last answer to a write of this client."""
        for wire in reversed(self.history.wires):
            if wire.client == client:
                for event in reversed(wire.events):
                    if isinstance(event, Answered) and event.message in NOTIFICATIONS:
                        return event.position
        return Position(0, 0)

    def traffic(self, log: MasterLog) -> dict[str, int]:
        """How much happened."""
        history = self.history
        subscribers = [client for client in self.clients if isinstance(client, Subscriber)]
        proxies = self.proxies
        events = [event for wire in history.wires for event in wire.events]
        return {
            "changes": log.head,
            "transactions": sum(1 for change in log.changes if change.last),
            "deliveries": sum(1 for event in events if isinstance(event, Notified)),
            "replayed": sum(1 for event in events if isinstance(event, Notified) and event.change.from_history),
            "reads": sum(
                1 for event in events if isinstance(event, Answered) and event.message == MessageId.OBJECTS_SENT
            ),
            "streams": len(history.streams),
            "reconnects": sum(client.reconnects for client in self.clients),
            "restores": sum(client.restores for client in self.clients),
            "moves": sum(client.switches for client in self.clients),
            "expired": sum(client.counters.expired for client in subscribers),
            "overflows": sum(client.counters.overflows for client in subscribers),
            "sight changes": sum(
                1
                for wire in history.wires
                if wire.client in history.accounts
                for event in wire.events
                if isinstance(event, Notified) and event.change.is_reload
            ),
            "forwarded writes": sum(
                1 for event in events if isinstance(event, Asked) and getattr(event.payload, "on_behalf_of", None)
            ),
            "unknown writes": sum(client.counters.unknown for client in self.clients),
            "repeated writes": sum(client.counters.repeated for client in self.clients),
            "loads": sum(proxy.loads for proxy in proxies),
            "resumes": sum(proxy.resumes for proxy in proxies),
            "reloads": len(history.reloads),
            "comparisons": sum(proxy.comparisons for proxy in proxies),
            "planted": sum(self.planted.values()),
            "parked": sum(process.parked for process in self.processes),
            "waits for a position": sum(process.waits for process in self.processes),
            "starts from a copy": sum(proxy.starts_from_copy for proxy in proxies),
            "starts from the database": sum(proxy.starts_from_database for proxy in proxies),
            "starts": sum(process.starts for process in self.processes),
            "restored backups": len(self.operator.replaced),
            "takeovers": sum(master.takeovers for master in self.masters),
            "disk errors": sum(process.disk_errors for process in self.processes),
            **member_traffic(self.plan, history),
        }


def _log(template: Template, records: list[Any], epochs: list[Epoch], earlier: Sequence[MasterLog] = ()) -> MasterLog:
    return MasterLog(template.objects, template.folders, list(map(_change, records)), epochs, earlier=earlier)


def _change(record) -> Change:  # type: ignore[no-untyped-def]
    flags = FLAG_END if record.last else 0
    return decode_change(Frame(record.action, flags, 0, record.epoch, record.uen, record.payload))
