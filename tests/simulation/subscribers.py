"""Clients of a simulated run that follow changes and read, and the recording of what they see."""

from __future__ import annotations

import copy
from contextlib import closing
from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.folders import without_members
from csproxy.core.model import SCHEMA, CfgFolder
from csproxy.core.model.typed import encode_typed
from csproxy.core.subscriptions import Interest
from csproxy.errors import ConnectionLostError, HistoryExpiredError, ServerError, TimedOutError
from csproxy.testing.histories import Arrived, Delivered, Expired, ReadRecord, Started, StreamHistory
from csproxy.transport.client import ConfigClient
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ReadObjects, SnapshotHandle
from tests.simulation.actors import SimulatedClient
from tests.simulation.plan import PAIR
from tests.simulation.template import CODE, DN, FOLDER, GROUP, PERSON, SKILL, SWITCH

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


class Subscriber(SimulatedClient):
    """Follows some interests and reads now and then."""

    async def work(self, client: ConfigClient) -> None:
        async with anyio.create_task_group() as tasks:
            for interest in self.interests():
                tasks.start_soon(self.follow, client, interest)
            tasks.start_soon(self.read_often, client)

    def interests(self) -> list[Interest]:
        """What to follow now."""
        rng = self.rng
        if self.tenant and rng.random() < 0.3:
            return [Interest(tenant_id=self.tenant)]
        if rng.random() < (0.9 if self.world.plan.step_s else 0.4):  # often what others have: one class
            return [rng.choice(INTERESTS[:3])]
        interests = rng.sample(INTERESTS, rng.randint(1, 3))
        if rng.random() < 0.3:
            interests.append(Interest(object_type=PERSON, object_dbid=rng.randint(101, 106)))
        return interests

    def lasts_s(self) -> tuple[float, float]:
        """How long a subscription lasts, between which times. To a standby, sessions that change often matter."""
        if self.world.plan.step_s:
            return 0.1, 6
        return (0.5, 8) if self.world.plan.together == PAIR else (5, 200)

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
        ends_at = now() + rng.uniform(*self.lasts_s())
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
                    self.sample()  # marks that came while this was waiting count from now on
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
        seen, forgets = client.position, self.forgets + self.epoch_changes
        result = await client.read(SCHEMA.types[kind].cls, **filter)
        objects = {item.DBID: _encoded(item) for item in result}  # type: ignore[attr-defined]
        if self.forgets + self.epoch_changes > forgets:  # a lost place in the history, or a new one, is a new start
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


class Bystander(Subscriber):
    """One of a crowd: it follows one object and does nothing else, but it has a session, too."""

    async def work(self, client: ConfigClient) -> None:
        await self.follow(client, Interest(object_type=PERSON, object_dbid=self.rng.randint(101, 106)))

    def lasts_s(self) -> tuple[float, float]:
        """To the end."""
        return 1_000, 2_000


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
