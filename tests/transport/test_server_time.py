"""The server's tasks and deadlines, in simulated time over a simulated network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from csproxy.core import codec
from csproxy.core.changes import Action, Change, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgAppType
from csproxy.core.model.delta import encode_object
from csproxy.core.sessions import Account, Author
from csproxy.errors import (
    AccessDeniedError,
    ConnectionLostError,
    CsproxyError,
    ErrorCode,
    HistoryExpiredError,
    LoginIncorrectError,
    ServerError,
    StoreError,
)
from csproxy.testing import MemoryNetwork, Simulation, run_simulated
from csproxy.transport.connection import Connection
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings, Writer
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import Authenticate, RegisterClient
from csproxy.transport.wire.subscriptions import RegisterNotification
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject, WriteRequest
from tests.transport.manual import EPOCH, application, transaction

SKILL = 13


class OneUser:
    """Accepts user ada with password right, after half a second; any other user at once with an unexpected error."""

    async def authenticate(self, user: str, password: str) -> Account:
        if user == "broken":
            raise RuntimeError("a mistake in the authenticator")
        await anyio.sleep(0.5)
        if (user, password) != ("ada", "right"):
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, "user name or password is wrong")
        return Account(101, user)


class SlowWriter(ReadOnlyWriter):
    """Carries out creations of skills, each in one second; refuses updates, and cannot reach a database to delete."""

    def __init__(self) -> None:
        super().__init__("this writer takes one change at a time")
        self.server: ConfigurationServer | None = None
        self.authors: list[Author] = []

    async def write(self, request: WriteRequest, author: Author) -> Sequence[Change]:
        await anyio.sleep(1.0)
        if isinstance(request, DeleteObject):
            raise StoreError("the disk is full", code=ErrorCode.DB_ERROR)
        if isinstance(request, UpdateObject):
            raise ServerError.from_code(ErrorCode.UNCHANGEABLE_INFO, "name may not change", property_name="name")
        assert self.server is not None
        self.authors.append(author)
        uen = self.server.position.uen + 1
        item = {"DBID": uen, "tenantDBID": 1, "state": 1, **request.object}
        changes = transaction(uen, (Action.CREATED, SKILL, item, None))
        self.server.publish(changes)
        return changes


class World:
    """One server on a simulated network, and clients of it."""

    def __init__(self, simulation: Simulation, network: MemoryNetwork, server: ConfigurationServer) -> None:
        self.simulation = simulation
        self.network = network
        self.server = server

    async def connect(self, name: str = "client_0", **login: str) -> Connection:
        connection = await self.open(name)
        type_ = CfgAppType.CFGSCE if login else CfgAppType.CFGStatServer
        await connection.register(RegisterClient(type=int(type_), name=name, **login))
        return connection

    async def open(self, host: str) -> Connection:
        channel = await self.network.connector(host)("server", 2020)
        return await Connection.open(channel, host)

    def publish(self, uen: int) -> None:
        item = {"DBID": uen, "tenantDBID": 1, "state": 1, "name": f"skill {uen}"}
        self.server.publish(transaction(uen, (Action.CREATED, SKILL, item, None)))


@asynccontextmanager
async def world(
    simulation: Simulation,
    *,
    writer: Writer | None = None,
    settings: ServerSettings | None = None,
    complete: bool = True,
) -> AsyncIterator[World]:
    server = ConfigurationServer(
        role="master",
        name="server",
        authenticator=OneUser(),
        writer=writer or ReadOnlyWriter("read-only"),
        random=simulation.rng.random,
        random_bytes=simulation.random_bytes,
        settings=settings,
    )
    if isinstance(writer, SlowWriter):
        writer.server = server
    if complete:
        builder = CacheBuilder(None)
        for i in range(3):
            builder.add(9, [encode_object(SCHEMA.types[9], application(200 + i, f"client_{i}"))], [0])
        desk = application(300, "desk", CfgAppType.CFGSCE)
        builder.add(9, [encode_object(SCHEMA.types[9], desk)], [0])
        server.replace(builder, Position(EPOCH, 0), [Epoch(EPOCH, 1)])
    async with MemoryNetwork(rng=simulation.rng) as network, server:
        network.listen("server", 2020, server.connect)
        yield World(simulation, network, server)


def simulated(test: Callable[..., Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run ``test(world)`` in simulated time."""

    async def main(simulation: Simulation) -> None:
        async with world(simulation, **options) as site:
            await test(site)

    run_simulated(main, seed=1, time_limit_s=7200)


def test_a_right_log_in_registers_and_names_the_author() -> None:
    writer = SlowWriter()

    async def main(site: World) -> None:
        client = await site.connect("desk", user="ada", password="right")
        await client.request(MessageId.CREATE_OBJECT, CreateObject(type=SKILL, object={"name": "x"}))
        assert writer.authors == [Author("ada", "desk", 101)]

    simulated(main, writer=writer)


def test_a_wrong_log_in_is_refused_and_the_connection_can_try_again() -> None:
    async def main(site: World) -> None:
        client = await site.open("desk")
        for password, expected in (("wrong", LoginIncorrectError), ("right", None)):
            request = RegisterClient(type=int(CfgAppType.CFGSCE), name="desk", user="ada", password=password)
            if expected:
                with pytest.raises(expected):
                    await client.register(request)
            else:
                await client.register(request)

    simulated(main)


def test_log_ins_can_be_checked_without_using_them() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        frame = await client.request(MessageId.AUTHENTICATE, Authenticate(user="ada", password="right"))
        assert codec.decode_map(frame.payload) == {"person_dbid": 101}
        with pytest.raises(LoginIncorrectError):
            await client.request(MessageId.AUTHENTICATE, Authenticate(user="ada", password="wrong"))

    simulated(main)


def test_a_mistake_in_an_authenticator_costs_one_request(caplog: pytest.LogCaptureFixture) -> None:
    async def main(site: World) -> None:
        client, other = await site.connect(), await site.connect("client_1")
        with pytest.raises(CsproxyError):
            await client.request(MessageId.AUTHENTICATE, Authenticate(user="broken"), timeout_s=5)
        await other.request(MessageId.PING)
        await client.request(MessageId.PING, timeout_s=5)

    simulated(main)
    (failure,) = [
        record.getMessage() for record in caplog.records if record.name == "csproxy.server" and record.exc_info
    ]
    assert failure.startswith("a task of the server failed: Authenticate (69) of <ServerConnection client_0")
    assert failure.endswith(" in _check")


def test_a_server_without_a_complete_data_set_says_come_back() -> None:
    async def main(site: World) -> None:
        client = await site.open("client_0")
        with pytest.raises(ServerError, match="no complete configuration") as caught:
            await client.register(RegisterClient(type=2, name="client_0"))
        assert caught.value.retry_after_s > 0

    simulated(main, complete=False)


def test_writes_of_one_client_are_answered_in_order_and_reads_overtake_them() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        answered: list[str] = []

        async def create(name: str) -> None:
            await client.request(MessageId.CREATE_OBJECT, CreateObject(type=SKILL, object={"name": name}))
            answered.append(name)

        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(create, name)
                await anyio.sleep(0.01)
            await client.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
            answered.append("read")
        assert answered == ["read", "a", "b", "c"]
        frame = await client.request(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
        assert codec.decode_map(frame.payload)["total"] == 3

    simulated(main, writer=SlowWriter())


def test_a_write_that_fails_says_why_and_the_next_one_goes_on() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        with pytest.raises(ServerError, match="may not change") as caught:
            await client.request(MessageId.UPDATE_OBJECT, UpdateObject(type=SKILL, dbid=1))
        assert caught.value.property_name == "name"
        with pytest.raises(ServerError, match="disk is full") as caught:
            await client.request(MessageId.DELETE_OBJECT, DeleteObject(type=SKILL, dbid=1))
        assert caught.value.code is ErrorCode.DB_ERROR
        with pytest.raises(ServerError, match="cannot be read"):
            await client.request(MessageId.DELETE_OBJECT, b"\x81\xa4type\xa1x")
        await client.request(MessageId.CREATE_OBJECT, CreateObject(type=SKILL, object={"name": "x"}))

    simulated(main, writer=SlowWriter())


def test_a_client_with_very_many_writes_is_held_back_and_all_are_answered() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        done = 0

        async def create(number: int) -> None:
            nonlocal done
            request = CreateObject(type=SKILL, object={"name": f"skill {number}"})
            await client.request(MessageId.CREATE_OBJECT, request, timeout_s=1000)
            done += 1

        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(create, number)
        assert done == 300

    simulated(main, writer=SlowWriter())


def test_a_read_only_server_refuses_writes() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        with pytest.raises(AccessDeniedError, match="read-only"):
            await client.request(MessageId.DELETE_OBJECT, DeleteObject(type=SKILL, dbid=1))
        assert "read-only" in repr(site.server.writer)

    simulated(main)


def test_a_read_waits_for_a_position_that_comes_soon() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        async with anyio.create_task_group() as tasks:

            async def later() -> None:
                await anyio.sleep(2)
                site.publish(1)
                site.publish(2)

            tasks.start_soon(later)
            request = ReadObjects(type=SKILL)
            frame = await client.request(MessageId.READ_OBJECTS, request, minimum=Position(EPOCH, 2))
        assert (frame.uen, codec.decode_map(frame.payload)["total"]) == (2, 2)

    simulated(main)


@pytest.mark.parametrize("message", [MessageId.READ_OBJECTS, MessageId.RESUME_FROM, MessageId.REGISTER_NOTIFICATION])
def test_a_position_that_does_not_come_ends_in_a_retryable_error(message: MessageId) -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        payload = ReadObjects(type=SKILL) if message is MessageId.READ_OBJECTS else b""
        began = site.simulation.now()
        with pytest.raises(ServerError, match="has not reached UEN 5") as caught:
            await client.request(message, payload, minimum=Position(EPOCH, 5))
        assert caught.value.retry_after_s > 0
        assert 2.9 < site.simulation.now() - began < 3.5
        await client.request(MessageId.PING)

    simulated(main)


@pytest.mark.parametrize("message", [MessageId.RESUME_FROM, MessageId.REGISTER_NOTIFICATION])
def test_a_position_of_an_epoch_that_is_known_before_its_changes_is_waited_for(message: MessageId) -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        site.server.set_epochs([Epoch(EPOCH, 1), Epoch(88, 3)])
        with pytest.raises(ServerError, match="has not reached UEN 5") as caught:
            await client.request(message, b"", minimum=Position(88, 5))
        assert caught.value.retry_after_s > 0
        with pytest.raises(HistoryExpiredError, match="took over at UEN 3"):
            await client.request(message, b"", minimum=Position(EPOCH, 5))

    simulated(main)


def test_a_client_that_does_not_register_is_disconnected() -> None:
    async def main(site: World) -> None:
        lost: list[CsproxyError] = []
        client = await site.open("client_0")
        client.on_closed = lost.append
        await anyio.sleep(25)
        assert not lost
        await anyio.sleep(10)
        assert "did not register within 30 s" in str(lost[0])

    simulated(main)


def test_a_byte_now_and_then_does_not_keep_a_connection_that_has_not_registered() -> None:
    async def main(site: World) -> None:
        channel = await site.network.connector("loris")("server", 2020)
        lost = anyio.Event()

        class Drip:
            def receive(self, data: bytes) -> None:
                """Whatever the server says."""

            def writable(self) -> None:
                """Nothing waits."""

            def closed(self, error: Exception | None) -> None:
                lost.set()

        channel.start(Drip())
        began = anyio.current_time()
        for byte in ClientProtocol().connect("client_0", "test"):
            if lost.is_set():
                break
            channel.write(bytes([byte]))
            await anyio.sleep(3)
        await lost.wait()
        assert 30 <= anyio.current_time() - began <= 40

    simulated(main)


def test_a_client_that_takes_nothing_is_disconnected() -> None:
    async def main(site: World) -> None:
        lost: list[CsproxyError] = []
        client = await site.connect()
        client.on_closed = lost.append
        await client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification())
        site.network.partition("client_0", "server")
        for uen in range(1, 600):
            publish_large(site, uen)
        await anyio.sleep(590)
        assert site.server.statistics().congested == 1
        await anyio.sleep(30)
        assert site.server.statistics().clients == 0

    simulated(main)


def publish_large(site: World, uen: int) -> None:
    item = {"DBID": uen, "tenantDBID": 1, "state": 1, "name": f"skill {uen}"}
    item["userProperties"] = {"v": {"filler": "x" * 5_000}}
    site.server.publish(transaction(uen, (Action.CREATED, SKILL, item, None)))


def test_quiet_clients_get_progress_marks() -> None:
    async def main(site: World) -> None:
        marks: list[int] = []
        client = await site.connect()
        client.on_mark = lambda position: marks.append(position.uen)
        await client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(object_type=14))
        site.publish(1)
        await anyio.sleep(16)
        assert marks == [1]
        await anyio.sleep(60)
        assert marks == [1]
        site.publish(2)
        await anyio.sleep(16)
        assert marks == [1, 2]

    simulated(main)


def test_detached_sessions_are_forgotten_after_their_time() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        client.close()
        await anyio.sleep(5)
        assert site.server.statistics().detached_sessions == 1
        await anyio.sleep(600)
        assert site.server.statistics().detached_sessions == 0

    simulated(main)


def test_a_stopping_server_says_where_each_stream_ends_and_takes_nobody_new() -> None:
    async def main(site: World) -> None:
        client = await site.connect()
        events: list[Any] = []
        client.on_change = lambda change: events.append(change.position.uen)
        client.on_mark = lambda position: events.append(("mark", position.uen))
        client.on_closed = lambda error: events.append(str(error))
        await client.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification())
        site.publish(1)
        site.publish(2)
        await site.server.stop(grace_s=5)
        await anyio.sleep(1)
        assert events[:3] == [1, 2, ("mark", 2)]
        assert "'server' stops" in events[-1]
        assert site.server.statistics().clients == 0
        assert not site.server.status()["ready"]
        with pytest.raises(ConnectionLostError, match="stops"):
            await site.connect("client_1")

    simulated(main)


def test_a_client_that_does_not_go_is_cut_when_the_grace_time_is_over() -> None:
    async def main(site: World) -> None:
        await site.connect()
        site.network.partition("client_0", "server")
        began = site.simulation.now()
        await site.server.stop(grace_s=2)
        await anyio.sleep(0.1)
        assert site.simulation.now() - began < 3
        assert site.server.statistics().clients == 0

    simulated(main)
