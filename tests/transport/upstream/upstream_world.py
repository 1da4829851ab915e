"""A master in memory and the sink of a proxy, for tests of the upstream source."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Epoch, ObjectCreated, ObjectDeleted, ObjectUpdated, Position
from csproxy.core.failover import Endpoint
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.replica import Replica
from csproxy.core.sessions import Account
from csproxy.core.wellknown import FIRST_FREE_DBID, well_known_objects
from csproxy.errors import ErrorCode, ServerError
from csproxy.testing.memory import MemoryNetwork
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from csproxy.transport.server_connection import Handler, ServerConnection
from csproxy.transport.turns import now
from csproxy.transport.upstream import UpstreamLimits, UpstreamSource
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.notifications import encode_notification

SKILL = 13
APPLICATION = 9
EPOCH = 11
UEN = 100
PROXY = FIRST_FREE_DBID
MASTER = Endpoint("master", 2020)
BACKUP = Endpoint("backup", 2020)
HASTE = UpstreamLimits(connect_s=2.0, answer_s=2.0, load_s=5.0, refused_retry_s=0.01)
"""Limits for tests that run in real time."""

Item = tuple[int, dict[str, Any], int]


def base_objects(**proxy: Any) -> list[Item]:
    """The well-known objects and the Application ``proxy1``, with further attributes if given."""
    objects: list[Item] = []
    for number, obj, folder in well_known_objects(proxies=[("proxy1", 2021)]):
        more = proxy if (number, obj["DBID"]) == (APPLICATION, PROXY) else {}
        objects.append((number, {**obj, **more}, folder))
    return objects


def skill(n: int, name: str = "") -> dict[str, Any]:
    return {"DBID": FIRST_FREE_DBID + n, "tenantDBID": 1, "name": name or f"Skill {n}", "state": 1}


class OneUser:
    """Knows one person by user name and password."""

    password = "secret"

    async def authenticate(self, user: str, password: str) -> Account:
        if (user, password) != ("default", self.password):
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, "user name or password is wrong")
        return Account(100, user)


class Master:
    """A real server in the role of a master, and the changes that it makes."""

    def __init__(self, name: str = "master", **options: Any) -> None:
        self.users = OneUser()
        self.server = ConfigurationServer(
            role=options.pop("role", "master"),
            name="confserv",
            authenticator=self.users,
            writer=ReadOnlyWriter("read-only for this test"),
            random=lambda: 0.5,
            random_bytes=lambda n: next(_numbers).to_bytes(n, "big"),
            clock=now,
            settings=ServerSettings(
                mark_interval_s=options.pop("mark_interval_s", 15.0), **options.pop("settings", {})
            ),
            **options,
        )
        self.name = name
        self.epoch = 0
        self.history: list[list[Change]] = []
        self.server.handlers = dict(self.server.handlers)

    def fill(self, objects: Sequence[Item], *, epochs: Sequence[Epoch] = (Epoch(EPOCH, 1),), uen: int = UEN) -> None:
        """Put a data set in place, as after the start of a master."""
        builder = CacheBuilder(None)
        for number, obj, folder in objects:
            builder.add(number, [encode_object(SCHEMA.types[number], obj)], [folder])
        self.epoch = epochs[-1].epoch
        self.server.replace(builder, Position(self.epoch, uen), epochs)

    def take_over(self, other: Master, *, epoch: int) -> None:
        """Start on the other's data and history, under a new epoch."""
        cache = other.server.cache
        builder = CacheBuilder(None)
        for number in SCHEMA.types:
            dbids = list(cache.dbids(number))
            builder.add(
                number, [cache.get(number, i) or b"" for i in dbids], [cache.folder_of(number, i) for i in dbids]
            )
        uen = other.server.position.uen
        self.epoch = epoch
        self.server.replace(builder, Position(epoch, uen), [*other.server.epochs, Epoch(epoch, uen + 1)])
        self.server.extend_history(other.history)
        self.history = list(other.history)

    def override(self, message: int, handler: Handler) -> None:
        """Answer ``message`` in another way."""
        self.server.handlers[message] = handler

    def before_first(self, message: int, do: Callable[[ServerConnection, Frame], bool]) -> None:
        """Call ``do`` when the first ``message`` comes; it returns whether the usual answer follows."""
        usual = self.server.handlers[message]

        def first(connection: ServerConnection, frame: Frame) -> None:
            self.server.handlers[message] = usual
            if do(connection, frame):
                usual(connection, frame)

        self.server.handlers[message] = first

    def publish(self, *steps: tuple[Action, int, dict[str, Any]]) -> list[Change]:
        """One transaction; a step is an action, a type and the object (for UPDATED: DBID and delta)."""
        changes = self.next_transaction(*steps)
        self.server.publish(changes)
        self.history.append(changes)
        return changes

    def next_transaction(self, *steps: tuple[Action, int, dict[str, Any]], skipped: int = 0) -> list[Change]:
        """The transaction that `publish` would make; ``skipped`` UENs later."""
        first = self.server.position.uen + 1 + skipped
        return [
            make_change(action, number, obj, Position(self.epoch, first + i), last=i == len(steps) - 1)
            for i, (action, number, obj) in enumerate(steps)
        ]

    def create_skills(self, first: int, count: int = 1) -> list[Change]:
        """One transaction that creates skills ``first`` …"""
        return self.publish(*((Action.CREATED, SKILL, skill(n)) for n in range(first, first + count)))

    def whisper(self, data: bytes) -> None:
        """Send raw bytes to every connection, as a faulty master would."""
        for session in self.server.sessions:
            session.connection.channel.write(data)


def make_change(action: Action, number: int, obj: dict[str, Any], position: Position, *, last: bool) -> Change:
    payload: msgspec.Struct
    stored = delta = former = None
    folder = 0
    if action is Action.CREATED:
        stored = encode_object(SCHEMA.types[number], obj)
        folder = number
        payload = ObjectCreated(type=number, object=msgspec.Raw(stored), folder=folder)
    elif action is Action.UPDATED:
        delta = {name: value for name, value in obj.items() if name != "DBID"}
        payload = ObjectUpdated(type=number, dbid=obj["DBID"], delta=delta)
    else:
        former = encode_object(SCHEMA.types[number], obj)
        payload = ObjectDeleted(type=number, dbid=obj["DBID"], former=msgspec.Raw(former))
    return Change(
        action=action,
        type=number,
        dbid=obj["DBID"],
        position=position,
        frame=encode_notification(action, codec.encode(payload), position=position, last=last),
        last=last,
        object=stored,
        delta=delta,
        former=former,
        folder=folder,
    )


class Sink:
    """The replica of a proxy that writes down what its source did."""

    def __init__(self) -> None:
        self.replica = Replica(encode=encode_notification, clock=lambda: 0.0)
        self.calls: list[str] = []
        self.transactions: list[list[int]] = []

    @property
    def position(self) -> Position:
        return self.replica.position

    @property
    def cache(self) -> ConfigurationCache:
        return self.replica.cache

    @property
    def epochs(self) -> Sequence[Epoch]:
        return self.replica.epochs

    def publish(self, transaction: Sequence[Change]) -> None:
        self.replica.publish(transaction)
        self.calls.append("publish")
        self.transactions.append([change.position.uen for change in transaction])

    def replace(self, builder: CacheBuilder, position: Position, epochs: Sequence[Epoch]) -> None:
        self.replica.replace(builder, position, epochs)
        self.calls.append("replace")

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        self.replica.epochs = list(epochs)
        self.calls.append("set_epochs")

    def extend_history(self, transactions: Sequence[Sequence[Change]]) -> None:
        raise AssertionError("an upstream source knows no older history")


def assert_same(master: Master, sink: Sink) -> None:
    """Master and proxy hold the same objects in the same folders at the same position."""
    theirs, ours = master.server.cache, sink.cache
    assert ours.position.uen == theirs.position.uen
    assert ours.counts() == theirs.counts()
    for number in SCHEMA.types:
        assert ours.digest(number) == theirs.digest(number), number
        for dbid in theirs.dbids(number):
            assert ours.folder_of(number, dbid) == theirs.folder_of(number, dbid)


async def until(condition: Callable[[], bool], *, limit_s: float = 5.0) -> None:
    """Wait, for events that nothing announces, until ``condition`` holds."""
    with anyio.fail_after(limit_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is counters, which tell nobody
            await anyio.sleep(0.001)


class World:
    """A network, a master and a proxy's sink."""

    def __init__(self, network: MemoryNetwork, master: Master, sink: Sink) -> None:
        self.network = network
        self.master = master
        self.sink = sink

    def source(self, *, endpoints: Sequence[Endpoint] = (MASTER,), **options: Any) -> UpstreamSource:
        """A source for the sink, in haste unless told otherwise."""
        options.setdefault("limits", HASTE)
        options.setdefault("random", lambda: 0.5)
        return UpstreamSource(self.sink, self.network.connector("proxy"), endpoints, "proxy1", **options)

    def listen(self, master: Master, endpoint: Endpoint = MASTER) -> None:
        self.network.listen(endpoint.host, endpoint.port, master.server.connect)

    async def caught_up(self, master: Master | None = None, *, limit_s: float = 5.0) -> None:
        """Wait until the proxy stands where the master stands."""
        server = (master or self.master).server
        await until(lambda: self.sink.position.uen == server.position.uen, limit_s=limit_s)


@asynccontextmanager
async def make_world(
    objects: Sequence[Item] | None = None, *, network: MemoryNetwork | None = None, **master_options: Any
) -> AsyncIterator[World]:
    """A master that listens, filled with ``objects`` (the well-known ones if not given)."""
    async with network or MemoryNetwork() as net:
        master = Master(**master_options)
        async with master.server:
            master.fill(base_objects() if objects is None else objects)
            world = World(net, master, Sink())
            world.listen(master)
            yield world


_numbers = iter(range(1, 1 << 62))
