"""Clients of a simulated run: subscribers, readers and writers, and the recording of what they see."""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.changes import Action, Position
from csproxy.core.folders import without_members
from csproxy.core.model import (
    SCHEMA,
    CfgActionCode,
    CfgAgentInfo,
    CfgDN,
    CfgFolder,
    CfgObject,
    CfgObjectID,
    CfgPerson,
    CfgSkill,
    CfgSkillLevel,
    CfgSwitch,
)
from csproxy.core.model.typed import encode_typed
from csproxy.core.subscriptions import Interest
from csproxy.errors import (
    ConnectionLostError,
    CsproxyError,
    ErrorCode,
    HistoryExpiredError,
    ServerError,
    TimedOutError,
)
from csproxy.testing.histories import (
    Arrived,
    Delivered,
    Expired,
    Outcome,
    Reached,
    ReadRecord,
    Started,
    StreamHistory,
    WriteRecord,
)
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_subscriptions import ChangeStream
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ReadObjects, SnapshotHandle
from tests.simulation.template import CLIENT_TYPE, CODE, DN, FOLDER, GROUP, PERSON, SKILL, SWITCH

INTERESTS = [
    Interest(),
    Interest(object_type=PERSON),
    Interest(object_type=SKILL),
    Interest(object_type=FOLDER),
    Interest(object_type=DN),
    Interest(object_type=SWITCH),
    Interest(object_type=CODE),
]
READ_TYPES = [PERSON, SKILL, FOLDER, DN, SWITCH, CODE, GROUP]


@dataclass
class Counters:
    """What happened, so that a dead simulation cannot pass."""

    expired: int = 0
    overflows: int = 0
    unknown: int = 0
    repeated: int = 0


class SimulatedClient:
    """One client program: a `ConfigClient` kept alive, and tasks that use it.

    ``world`` is the run (see run.py). Everything random comes from the client's own source.
    """

    def __init__(self, world: Any, number: int, endpoints: list[tuple[str, int]], *, tenant: int) -> None:
        self.world = world
        self.name = f"client{number}"
        self.number = number
        self.endpoints = endpoints
        self.tenant = tenant
        self.rng = random.Random(f"{world.sim.seed} {self.name}")
        self.counters = Counters()
        self.reconnects = 0
        self.restores = 0
        self.forgets = 0
        self.live: dict[ChangeStream, StreamHistory] = {}
        self.starting = 0

    async def run(self) -> None:
        """Work until cancelled; a client that gave up is made anew."""
        while True:
            client = self._make()
            try:
                async with client:
                    try:
                        await self.work(client)
                    finally:
                        done = client.statistics()
                        self.reconnects += done.reconnects
                        self.restores += done.restores
            except (CsproxyError, ExceptionGroup) as e:
                if isinstance(e, ExceptionGroup) and e.split(CsproxyError)[1] is not None:
                    raise
                self.world.note(f"{self.name}: starts again after {e!r}")
                await anyio.sleep(self.rng.uniform(0.2, 1.0))

    async def work(self, client: ConfigClient) -> None:
        raise NotImplementedError

    def _make(self) -> ConfigClient:
        client = ConfigClient(
            endpoints=self.endpoints,
            application=self.name,
            application_type=CLIENT_TYPE,
            connector=self.world.connector(self.name, self.sample),
            connect_wait_s=1000.0,
            attempt_timeout_s=3.0,
            request_timeout_s=8.0,
            ping_interval_s=self.world.plan.ping_interval_s,
            random=self.rng.random,
            random_bytes=self.rng.randbytes,
        )
        forget = client._link.forget_position

        def forget_and_count() -> None:
            self.forgets += 1
            forget()

        client._link.forget_position = forget_and_count  # type: ignore[method-assign]
        return client

    async def pause(self, seconds: float) -> None:
        """Wait, in a run that goes in steps until the next of them."""
        step_s = self.world.plan.step_s
        if step_s:
            now = self.world.sim.now()
            seconds = (math.floor((now + seconds) / step_s) + 1) * step_s - now
        await anyio.sleep(seconds)

    def sample(self) -> None:
        """Note how far the streams have come; called after everything that arrived."""
        for stream, history in self.live.items():
            position = stream.position
            last = history.events[-1]
            before = last.end if isinstance(last, Arrived) else last.position
            if position != before and position != (0, 0):
                history.events.append(Reached(self.world.sim.now(), position))


class Subscriber(SimulatedClient):
    """Follows some interests and reads now and then."""

    async def work(self, client: ConfigClient) -> None:
        rng = self.rng
        if self.tenant and rng.random() < 0.3:
            interests = [Interest(tenant_id=self.tenant)]
        elif rng.random() < (0.9 if self.world.plan.step_s else 0.4):  # often what others have: one class
            interests = [rng.choice(INTERESTS[:3])]
        else:
            interests = rng.sample(INTERESTS, rng.randint(1, 3))
            if rng.random() < 0.3:
                interests.append(Interest(object_type=PERSON, object_dbid=rng.randint(101, 106)))
        async with anyio.create_task_group() as tasks:
            for interest in interests:
                tasks.start_soon(self.follow, client, interest)
            tasks.start_soon(self.read_often, client)

    async def follow(self, client: ConfigClient, interest: Interest) -> None:
        """Subscribe, again and again when the place is lost."""
        since: Position | None = None
        while True:
            if self.rng.random() < 0.3:
                since = None
            try:
                since = await self.follow_once(client, interest, since)
            except (ServerError, TimedOutError) as e:
                self.world.note(f"{self.name}: subscribing failed: {e}")
                since = None
                await self.pause(self.rng.uniform(0.1, 0.5))

    async def follow_once(self, client: ConfigClient, interest: Interest, since: Position | None) -> Position | None:
        """One subscription until it ends; returns where to go on, None to start anew."""
        rng, now = self.rng, self.world.sim.now
        objects = None
        if since is None and rng.random() < 0.7 and interest.object_type and not interest.tenant_id:
            key = {"dbid": interest.object_dbid} if interest.object_dbid else {}
            read = await self.read(client, interest.object_type, **key)
            since = read.position
            objects = {(interest.object_type, dbid): without_members(stored) for dbid, stored in read.objects.items()}
        number = next(self.world.stream_numbers)
        history = StreamHistory(self.name, number, interest)
        self.world.history.streams.append(history)
        stream = client.subscribe(
            interest.object_type or None,
            tenant_dbid=interest.tenant_id,
            dbid=interest.object_dbid,
            since=since,
            buffer_bytes=rng.choice([1_000, 4 * 1024 * 1024]),
        )
        pause_s = rng.choice([0.0, 0.0, 0.02, 0.5])
        ends_at = now() + (rng.uniform(0.1, 6) if self.world.plan.step_s else rng.uniform(5, 200))
        try:
            self.starting += 1
            try:
                await stream.__aenter__()
            finally:
                self.starting -= 1
            with closing(stream):
                history.events.append(Started(now(), since or stream.position, objects))
                self.live[stream] = history
                while now() < ends_at or self.world.is_quiet:
                    transaction = await stream.next_transaction()
                    assert transaction is not None
                    changes = tuple(map(_delivered, transaction.changes, transaction.from_history))
                    history.events.append(Arrived(now(), transaction.end, changes))
                    if pause_s and not self.world.is_quiet:
                        await self.pause(pause_s)
                history.is_open = False
                return stream.position
        except HistoryExpiredError:
            self.counters.expired += 1
            history.is_open = False
            history.events.append(Expired(now(), stream.position))
            return None
        except BaseException:
            history.is_open = self.world.is_over
            raise
        finally:
            self.counters.overflows += stream.overflows
            self.live.pop(stream, None)

    # reads

    async def read_often(self, client: ConfigClient) -> None:
        rng = self.rng
        while True:
            await self.pause(rng.expovariate(1 / rng.choice([0.3, 2.0])))
            if self.world.is_quiet:
                await self.pause(5)
            try:
                kind = rng.choice(READ_TYPES)
                choice = rng.random()
                if choice < 0.4:
                    await self.read(client, kind)
                elif choice < 0.6:
                    await self.read(client, PERSON, dbid=rng.randint(101, 112))
                elif choice < 0.75:
                    await self.read(client, SKILL, name=f"skill {rng.randint(0, 6)}")
                elif choice < 0.85:
                    await self.read(client, SKILL, tenant_dbid=self.world.template.known["north"])
                else:
                    await self.read_snapshot(client)
            except (ServerError, TimedOutError, ConnectionLostError) as e:
                if client.state.value in ("lost", "closed"):
                    raise
                self.world.note(f"{self.name}: a read failed: {e}")

    async def read(self, client: ConfigClient, kind: int, **filter: Any) -> ReadRecord:
        """Read through the library and record what it says."""
        seen, forgets = client.position, self.forgets
        result = await client.read(SCHEMA.types[kind].cls, **filter)
        objects = {item.DBID: _encoded(item) for item in result}  # type: ignore[attr-defined]
        if self.forgets > forgets:  # a lost place in the history is a new start
            seen = Position(0, 0)
        record = ReadRecord(self.world.sim.now(), self.name, kind, filter, seen, result.position, objects)
        self.world.history.reads.append(record)
        return record

    async def read_snapshot(self, client: ConfigClient) -> None:
        """Several types as of one position; the tap on the connection sees whether they are."""
        connection = await client.connection()
        answer = await connection.request(MessageId.OPEN_SNAPSHOT, Empty(), timeout_s=5.0)
        handle = decode_payload(SnapshotHandle, answer.payload).snapshot
        for kind in self.rng.sample(READ_TYPES, 3):
            await self.pause(self.rng.uniform(0, 0.3))
            await connection.request(
                MessageId.READ_OBJECTS, ReadObjects(type=kind, snapshot=handle), timeout_s=8.0, on_part=_ignore
            )
        await connection.request(MessageId.CLOSE_SNAPSHOT, SnapshotHandle(snapshot=handle), timeout_s=5.0)


class WriterClient(SimulatedClient):
    """Changes things at the master."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.mine: dict[type[CfgObject], list[int]] = {}
        known = self.world.template.known
        self._persons = list(range(101, 107))
        self._skills = [known["skill"] + n for n in range(4)]
        self._tries = 0

    async def work(self, client: ConfigClient) -> None:
        while not self.world.is_quiet:
            await self.pause(self.rng.expovariate(1 / self.world.plan.write_pause_s))
            try:
                await self.rng.choice(self._actions())(client)
            except (ServerError, TimedOutError, ConnectionLostError) as e:
                if client.state.value in ("lost", "closed"):
                    raise
                self.world.note(f"{self.name}: a write failed: {e}")
        await anyio.sleep_forever()

    def _actions(self) -> list[Callable[[ConfigClient], Any]]:
        return [
            *[self.create_skill] * 3,
            *[self.create_person] * 2,
            self.create_code,
            *[self.update_person] * 4,
            *[self.update_skill] * 2,
            *[self.delete_skill] * 2,
            self.recreate_skill,
            self.switch_with_dns,
            self.delete_switch,
            self.move_person,
            self.refused,
        ]

    async def create_skill(self, client: ConfigClient, name: str = "") -> None:
        tenant = self.world.template.known["north"] if self.rng.random() < 0.3 else 1
        name = name or f"{self.name} skill {next(self.world.names)}"
        await self._create(client, CfgSkill(name=name, tenantDBID=tenant))

    async def create_person(self, client: ConfigClient) -> None:
        name = f"{self.name} person {next(self.world.names)}"
        levels = [CfgSkillLevel(skillDBID=dbid, level=1) for dbid in self._some_skills()]
        person = CfgPerson(
            userName=name, employeeID=name, tenantDBID=1, isAgent=2, agentInfo=CfgAgentInfo(skillLevels=levels)
        )
        await self._create(client, person)

    async def create_code(self, client: ConfigClient) -> None:
        name = f"{self.name} code {next(self.world.names)}"
        await self._create(client, CfgActionCode(name=name, code=name, type=1, tenantDBID=1))

    async def switch_with_dns(self, client: ConfigClient) -> None:
        name = f"{self.name} switch {next(self.world.names)}"
        office = (await client.read(SCHEMA.types[11].cls))[0]
        await self._create(client, CfgSwitch(name=name, tenantDBID=1, physSwitchDBID=office.DBID))  # type: ignore[attr-defined]
        switches = self.mine.get(CfgSwitch, [])
        if switches:
            for number in range(self.rng.randint(1, 5)):
                await self._create(client, CfgDN(switchDBID=switches[-1], number=str(number), type=1))

    async def update_person(self, client: ConfigClient) -> None:
        await self._update(client, CfgPerson, self.rng.choice([*self._persons, *self.mine.get(CfgPerson, [])]))

    async def update_skill(self, client: ConfigClient) -> None:
        await self._update(client, CfgSkill, self.rng.choice([*self._skills, *self.mine.get(CfgSkill, [])]))

    async def delete_skill(self, client: ConfigClient) -> None:
        """One of the skills that persons have: their levels go with it, in one transaction."""
        skills = self.mine.get(CfgSkill, [])
        if skills:
            await self._delete(client, CfgSkill, skills.pop(self.rng.randrange(len(skills))))

    async def recreate_skill(self, client: ConfigClient) -> None:
        skills = self.mine.get(CfgSkill, [])
        if skills:
            skill = await client.get(CfgSkill, skills[0])
            await self._delete(client, CfgSkill, skills.pop(0))
            await self.create_skill(client, skill.name)

    async def delete_switch(self, client: ConfigClient) -> None:
        switches = self.mine.get(CfgSwitch, [])
        if switches and self.rng.random() < 0.7:
            await self._delete(client, CfgSwitch, switches.pop())

    async def move_person(self, client: ConfigClient) -> None:
        folder = await client.get(CfgFolder, self.rng.choice([self.world.template.known["team"], PERSON]))
        after = self._stamped(folder)
        dbid = self.rng.choice(self._persons)
        if not any((item.DBID, item.type) == (dbid, PERSON) for item in folder.objectIDs):
            after.objectIDs = [*folder.objectIDs, CfgObjectID(DBID=dbid, type=PERSON)]
        await self._write_update(client, folder, after)

    async def refused(self, client: ConfigClient) -> None:
        await self._create(client, CfgSkill(name="skill 0", tenantDBID=1))

    # how writes are made and recorded

    def _some_skills(self) -> list[int]:
        skills = [*self._skills, *self.mine.get(CfgSkill, [])]
        return self.rng.sample(skills, min(len(skills), 2))

    def _token(self) -> dict[str, dict[str, str]]:
        filler = "x" * self.rng.randint(0, self.world.plan.filler_bytes)
        return {"simulation": {"token": f"token-{next(self.world.tokens)}-{filler}"}}

    def _stamped(self, item: Any) -> Any:
        after = copy.deepcopy(item)
        after.userProperties = self._token()
        return after

    async def _update(self, client: ConfigClient, cls: type[Any], dbid: int) -> None:
        before = await client.get(cls, dbid)
        after = self._stamped(before)
        if cls is CfgPerson and after.agentInfo is not None and self.rng.random() < 0.5:
            after.agentInfo.skillLevels = [
                CfgSkillLevel(skillDBID=skill, level=self.rng.randint(0, 9)) for skill in self._some_skills()
            ]
        await self._write_update(client, before, after)

    async def _create(self, client: ConfigClient, item: Any) -> None:
        item.userProperties = self._token()
        kind = SCHEMA.object_type(type(item)).number

        async def create(key: str) -> int:
            made: int = (await client.create(item, key=key)).DBID
            self.mine.setdefault(type(item), []).append(made)
            return made

        await self._record(client, Action.CREATED, kind, 0, _token_of(item), create)

    async def _write_update(self, client: ConfigClient, before: Any, after: Any) -> None:
        kind = SCHEMA.object_type(type(before)).number

        async def update(key: str) -> int:
            await client.update(before, after, key=key)
            return int(before.DBID)

        await self._record(client, Action.UPDATED, kind, before.DBID, _token_of(after), update)

    async def _delete(self, client: ConfigClient, cls: type[CfgObject], dbid: int) -> None:
        async def delete(key: str) -> int:
            await client.delete(cls, dbid, key=key)
            return dbid

        await self._record(client, Action.DELETED, SCHEMA.object_type(cls).number, dbid, "", delete)

    async def _record(
        self, client: ConfigClient, action: Action, kind: int, dbid: int, token: str, do: Callable[[str], Any]
    ) -> None:
        """Carry a write out and record its outcome; one of unknown outcome is sometimes repeated with its key."""
        key = self.rng.randbytes(8).hex()
        outcome = Outcome.UNKNOWN
        try:
            dbid = await do(key)
            outcome = Outcome.ACKNOWLEDGED
        except ServerError as e:
            outcome = Outcome.UNKNOWN if _is_unknown(e) else Outcome.REFUSED
            raise
        except (ConnectionLostError, TimedOutError):
            self.counters.unknown += 1
            if self.rng.random() < 0.5:
                try:
                    dbid = await do(key)
                    outcome = Outcome.ACKNOWLEDGED
                    self.counters.repeated += 1
                except CsproxyError as e:
                    self.world.note(f"{self.name}: repeating failed: {e}")
                else:
                    return
            raise
        finally:
            self.world.history.writes.append(
                WriteRecord(
                    self.world.sim.now(),
                    self.name,
                    action,
                    kind,
                    dbid,
                    token,
                    outcome,
                    self.world.acknowledged(self.name),
                )
            )


def _is_unknown(error: ServerError) -> bool:
    return error.code is ErrorCode.DB_ERROR and "unknown" in error.description


def _token_of(item: Any) -> str:
    text: str = item.userProperties["simulation"]["token"]
    return "-".join(text.split("-")[:2]) + "-"


def _encoded(item: Any) -> bytes:
    """An object as it stands in an answer; the members of a folder come last there, by type and DBID."""
    if not isinstance(item, CfgFolder) or not item.objectIDs:
        return encode_typed(item)
    bare = copy.copy(item)
    bare.objectIDs = []
    members = sorted((member.type, member.DBID) for member in item.objectIDs)
    listed = [{"DBID": dbid, "type": kind} for kind, dbid in members]
    return codec.encode({**codec.decode_map(encode_typed(bare)), "objectIDs": listed})


def _delivered(change: Any, from_history: bool) -> Delivered:
    return Delivered.of(change, from_history=from_history)


def _ignore(frame: object) -> None:
    """Parts of answers that only the tap looks at."""


def numbers() -> Iterator[int]:
    """1, 2, 3 …"""
    return itertools.count(1)
