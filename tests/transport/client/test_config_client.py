"""ConfigClient's requests against a scripted server: reads, writes, and what failures turn into."""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from csproxy.core.changes import Position
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import CfgDN, CfgFlag, CfgObjectState, CfgPerson
from csproxy.errors import (
    AccessDeniedError,
    ConfigurationError,
    ConnectionLostError,
    ErrorCode,
    LocalProtocolError,
    LoginIncorrectError,
    ModelError,
    ObjectNotFoundError,
    RetryableError,
    TimedOutError,
)
from csproxy.transport.client import ClientState, ClientStatistics, ConfigClient
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ObjectsRead, ObjectsSent, ReadObjects, Status
from csproxy.transport.wire.registration import Authenticate, Authenticated, RegisterClient
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject
from tests.transport.client.scripted import (
    ScriptedConnection,
    ScriptedServer,
    answer_created,
    answer_deleted,
    answer_updated,
    at,
)

pytestmark = pytest.mark.anyio

PERSON = 3


def client_of(server: ScriptedServer, **options: Any) -> ConfigClient:
    defaults: dict[str, Any] = {
        "user": "default",
        "password": "p",
        "connector": server.connect,
        "keep_alive": KeepAlive(),
        "random": lambda: 0.0,
    }
    return ConfigClient("primary", 2020, **(defaults | options))


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[ConfigClient, ScriptedConnection, ScriptedServer]]:
    server = ScriptedServer()
    async with anyio.create_task_group() as tasks:
        peers: list[ScriptedConnection] = []

        async def accept() -> None:
            peers.append(await server.next_connection())
            await peers[0].accept_client()

        tasks.start_soon(accept)
        async with client_of(server, **options) as client:
            yield client, peers[0], server
        tasks.cancel_scope.cancel()


class Call:
    """A client call that runs while the script answers it."""

    def __init__(self) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.is_done = False

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> None:
        try:
            self.result = await function(*args, **kwargs)
        except Exception as e:  # noqa: BLE001 - what the call raised is what the test is about
            self.error = e
        self.is_done = True


@asynccontextmanager
async def calling(function: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Call]:
    call = Call()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: call.run(function, *args, **kwargs))
        yield call
        with anyio.fail_after(5):
            while not call.is_done:
                await anyio.wait_all_tasks_blocked()


async def enter(client: ConfigClient) -> ClientStatistics:
    async with client:
        return client.statistics()


async def test_entering_registers_with_what_was_given_and_leaving_closes() -> None:
    server = ScriptedServer()
    async with anyio.create_task_group() as tasks:
        requests: list[RegisterClient] = []
        peers: list[ScriptedConnection] = []

        async def accept() -> None:
            peer = await server.next_connection()
            peers.append(peer)
            frame = await peer.accept_client()
            requests.append(decode_payload(RegisterClient, frame.payload))

        tasks.start_soon(accept)
        async with client_of(server, application="reports", application_type=5, app_password="a") as client:
            assert client.state is ClientState.CONNECTED
            assert client.session_id == "5e55"
            assert client.position == at(100)
            assert "reports" in repr(client)
            statistics = client.statistics()
            assert statistics.state == "connected"
            assert statistics.endpoint == "primary:2020"
            assert statistics.registrations == 1
            with pytest.raises(LocalProtocolError):
                await client.__aenter__()
        (request,) = requests
        assert (request.name, request.type, request.user, request.password) == ("reports", 5, "default", "p")
        assert request.app_password == "a"
        assert peers[0].is_closed
        assert client.state is ClientState.CLOSED  # type: ignore[comparison-overlap]
        with pytest.raises(ConnectionLostError, match="closed"):
            await client.read(CfgPerson)


async def test_a_client_that_was_not_entered_says_so() -> None:
    with pytest.raises(LocalProtocolError, match="async with"):
        await client_of(ScriptedServer()).read(CfgPerson)


async def test_an_error_of_the_users_code_leaves_the_block_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        async with connected_directly():
            raise ZeroDivisionError


@asynccontextmanager
async def connected_directly() -> AsyncIterator[ConfigClient]:
    """Without a task group around the client, which would wrap its errors."""
    server = AutomaticServer()
    async with client_of(server) as client:
        yield client


class AutomaticServer(ScriptedServer):
    """Accepts clients inside the write call, so that no task of the test is needed."""

    async def connect(self, host: str, port: int) -> ScriptedConnection:
        return AutomaticConnection()


class AutomaticConnection(ScriptedConnection):
    def write(self, data: bytes) -> None:
        super().write(data)
        while self._requests:
            frame = self._requests.popleft()
            if frame.message == MessageId.PROTOCOL_VERSION:
                self.send(self.protocol.version_chosen(frame))
            else:
                self.protocol.registered()
                self.grant(frame, "5e55", at(100))


async def test_time_limits_must_be_above_zero() -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        ConfigClient(request_timeout_s=0)


@pytest.mark.parametrize(
    ("code", "error"),
    [(ErrorCode.LOGIN_INCORRECT, LoginIncorrectError), (ErrorCode.APP_SECURITY_VIOLATION, AccessDeniedError)],
)
async def test_a_refused_registration_is_raised_at_once(code: ErrorCode, error: type[Exception]) -> None:
    server = ScriptedServer()
    async with calling(enter, client_of(server, connect_wait_s=60)) as call:
        peer = await server.next_connection()
        await peer.accept_version()
        peer.refuse(await peer.next_request(MessageId.REGISTER_CLIENT), code)
        await peer.client_closed()
    assert isinstance(call.error, error)


async def test_each_endpoint_is_tried_once_before_giving_up() -> None:
    server = ScriptedServer()
    endpoints = [("primary", 2020), ("backup", 2021)]
    server.refusing = set(endpoints)
    with pytest.raises(ConnectionLostError, match="backup"):
        await client_of(server, endpoints=endpoints).__aenter__()
    assert server.dialled == endpoints


async def test_the_backup_serves_when_the_primary_is_away() -> None:
    server = ScriptedServer()
    server.refusing = {("primary", 2020)}
    async with calling(enter, client_of(server, endpoints=[("primary", 2020), ("backup", 2021)])) as call:
        await (await server.next_connection()).accept_client()
    assert call.result.endpoint == "backup:2021"


async def test_connect_wait_goes_on_trying() -> None:
    server = ScriptedServer()
    server.refusing = {("primary", 2020)}
    async with calling(enter, client_of(server, connect_wait_s=60, random=lambda: 0.01)) as call:
        await server.wait_dialled(3)
        server.refusing.clear()
        await (await server.next_connection()).accept_client()
    assert call.result.state == "connected"


async def test_read_sends_the_filter_and_returns_typed_objects_with_their_position() -> None:
    async with connected() as (client, peer, _):
        async with calling(
            client.read,
            CfgPerson,
            is_agent=True,
            state=CfgObjectState.CFGEnabled,
            user_name=None,
            read_folder_dbid=True,
        ) as call:
            frame, request = await peer.expect(MessageId.READ_OBJECTS, ReadObjects)
            assert request.type == PERSON
            assert request.filter == {"is_agent": True, "state": 1, "read_folder_dbid": True}
            peer.answer_read(frame, PERSON, [{"DBID": 7, "userName": "a", "isAgent": 2}, {"DBID": 8}], at(140))
        persons = call.result
        assert [person.DBID for person in persons] == [7, 8]
        assert isinstance(persons[0], CfgPerson)
        assert persons[0].isAgent is CfgFlag.CFGTrue
        assert persons.position == at(140) == client.position
        assert persons.folders == [1, 1]
        assert persons.total == 2


async def test_get_finds_by_dbid_and_by_attributes_of_a_key() -> None:
    async with connected() as (client, peer, _):
        for arguments, sent in (
            ({"dbid": 7}, {"dbid": 7}),
            ({"userName": "x"}, {"user_name": "x"}),
            ({"tenantDBID": 1, "employee_id": "e"}, {"tenant_dbid": 1, "employee_id": "e"}),
        ):
            async with calling(lambda kwargs=arguments: client.get(CfgPerson, **kwargs)) as call:
                frame, request = await peer.expect(MessageId.READ_OBJECTS, ReadObjects)
                assert request.filter == sent
                peer.answer_read(frame, PERSON, [{"DBID": 7}])
            assert call.result.DBID == 7
        async with calling(client.get, CfgDN, number="1001", switchDBID=3) as call:
            frame, request = await peer.expect(MessageId.READ_OBJECTS, ReadObjects)
            assert request.filter == {"dn_number": "1001", "switch_dbid": 3}
            peer.answer_read(frame, 2, [])
        assert isinstance(call.error, ObjectNotFoundError)
        assert "1001" in str(call.error)


async def test_get_refuses_what_is_no_key_and_what_is_ambiguous() -> None:
    async with connected() as (client, peer, _):
        with pytest.raises(ModelError, match="userName"):
            await client.get(CfgPerson, shoeSize=44)
        with pytest.raises(ModelError, match="nothing"):
            await client.get(CfgPerson)
        async with calling(client.get, CfgPerson, last_name="Smith") as call:
            peer.answer_read(await peer.next_request(), PERSON, [{"DBID": 1}, {"DBID": 2}])
        assert isinstance(call.error, ModelError)
        assert "2 persons" in str(call.error)


async def test_count_status_and_authenticate() -> None:
    async with connected() as (client, peer, _):
        async with calling(client.count, "persons", is_agent=True) as call:
            peer.answer_read(await peer.next_request(MessageId.READ_OBJECTS), PERSON, [{"DBID": 1}, {"DBID": 2}])
        assert call.result == 2
        async with calling(client.status) as call:
            peer.answer(await peer.next_request(MessageId.READ_STATUS), MessageId.STATUS, Status(status={"role": "x"}))
        assert call.result == {"role": "x"}
        async with calling(client.authenticate, "u", "p") as call:
            frame, request = await peer.expect(MessageId.AUTHENTICATE, Authenticate)
            assert (request.user, request.password) == ("u", "p")
            peer.answer(frame, MessageId.AUTHENTICATED, Authenticated(person_dbid=100))
        assert call.result == 100


async def test_reads_never_go_back_and_only_ask_for_that_when_wanted() -> None:
    for monotonic, minimum in ((True, at(100)), (False, Position(0, 0))):
        async with connected(monotonic=monotonic) as (client, peer, _), calling(client.read, CfgPerson):
            frame = await peer.next_request()
            assert Position(frame.epoch, frame.uen) == minimum
            peer.answer_read(frame, PERSON, [])
            client.forget_position()
            assert client.position == Position(0, 0)


async def test_a_read_waits_for_a_busy_server_and_gives_its_refusal_up_at_the_deadline() -> None:
    async with connected(request_timeout_s=3) as (client, peer, _):
        async with calling(client.read, CfgPerson) as call:
            peer.refuse(await peer.next_request(), ErrorCode.UNDEFINED_ERROR, "busy", retry_after_s=0.002)
            peer.answer_read(await peer.next_request(), PERSON, [{"DBID": 1}])
        assert len(call.result) == 1
        async with calling(client.read, CfgPerson) as call:
            peer.refuse(await peer.next_request(), ErrorCode.UNDEFINED_ERROR, "busy", retry_after_s=60)
        assert isinstance(call.error, RetryableError)


async def test_a_read_in_flight_is_repeated_on_the_next_connection_and_starts_anew() -> None:
    async with connected() as (client, peer, server), calling(client.read, CfgPerson) as call:
        frame = await peer.next_request(MessageId.READ_OBJECTS)
        part = ObjectsRead(type=PERSON, total=2)
        peer.answer(frame, MessageId.OBJECTS_READ, part, last=False)
        peer.answer_read_part(frame, PERSON, [{"DBID": 1}])
        peer.drop()
        peer = await server.next_connection()
        await peer.accept_restored()
        peer.answer_read(await peer.next_request(MessageId.READ_OBJECTS), PERSON, [{"DBID": 1}, {"DBID": 2}])
    assert [person.DBID for person in call.result] == [1, 2]


async def test_calls_without_a_connection_wait_for_one_and_then_say_why() -> None:
    async with connected(request_timeout_s=0.05) as (client, peer, server):
        server.refusing = {("primary", 2020)}
        peer.drop()
        for function in (client.read, client.count):
            with pytest.raises(ConnectionLostError, match="no connection to primary:2020"):
                await function(CfgPerson)
        with pytest.raises(ConnectionLostError) as caught:
            await client.delete(CfgPerson, 7)
        assert "unknown" not in str(caught.value), "a write that was never sent has a known outcome"


async def test_create_returns_the_stored_object() -> None:
    async with connected() as (client, peer, _):
        new = CfgPerson(tenantDBID=1, userName="new", employeeID="e")
        async with calling(client.create, new, folder=55) as call:
            frame, request = await peer.expect(MessageId.CREATE_OBJECT, CreateObject)
            assert (request.type, request.folder) == (PERSON, 55)
            assert request.object == {"tenantDBID": 1, "userName": "new", "employeeID": "e"}
            assert len(request.key) == 32
            peer.send(answer_created(frame, PERSON, request.object | {"DBID": 300, "state": 1}, at(101)))
        assert call.result == CfgPerson(
            DBID=300, tenantDBID=1, userName="new", employeeID="e", state=CfgObjectState.CFGEnabled
        )
        assert client.position == at(101)


async def test_update_sends_the_difference_and_nothing_when_there_is_none() -> None:
    async with connected() as (client, peer, _):
        before = CfgPerson(DBID=7, tenantDBID=1, userName="a", firstName="A")
        after = copy.deepcopy(before)
        after.firstName = "B"
        async with calling(client.update, before, after, key="my-key") as call:
            frame, request = await peer.expect(MessageId.UPDATE_OBJECT, UpdateObject)
            assert (request.type, request.dbid, request.delta, request.key) == (PERSON, 7, {"firstName": "B"}, "my-key")
            peer.send(answer_updated(frame, PERSON, 7, request.delta, at(102)))
        assert call.result == at(102)
        assert await client.update(before, copy.deepcopy(before)) == at(102)
        assert peer.waiting_requests == 0
        for wrong in (CfgPerson(DBID=8), CfgDN(DBID=7)):
            with pytest.raises(ModelError, match="two copies"):
                await client.update(before, wrong)
        with pytest.raises(ModelError, match="two copies"):
            await client.update(CfgPerson(), CfgPerson())


async def test_delete_takes_an_object_or_a_type_and_a_dbid() -> None:
    async with connected() as (client, peer, _):
        for arguments in ((CfgPerson(DBID=7),), (CfgPerson, 7), ("person", 7)):
            async with calling(client.delete, *arguments) as call:
                frame, request = await peer.expect(MessageId.DELETE_OBJECT, DeleteObject)
                assert (request.type, request.dbid) == (PERSON, 7)
                peer.send(answer_deleted(frame, PERSON, {"DBID": 7}, at(103)))
            assert call.result == at(103)
        with pytest.raises(ModelError, match="needs the DBID"):
            await client.delete(CfgPerson())


async def test_a_write_whose_answer_is_lost_says_that_its_outcome_is_unknown_and_is_not_repeated() -> None:
    async with connected() as (client, peer, server):
        async with calling(client.delete, CfgPerson, 7, key="k1") as call:
            await peer.next_request(MessageId.DELETE_OBJECT)
            peer.drop(OSError("reset"))
            peer = await server.next_connection()
            await peer.accept_restored()
        assert isinstance(call.error, ConnectionLostError)
        assert "unknown" in str(call.error)
        assert "k1" in str(call.error)
        assert peer.waiting_requests == 0


async def test_a_write_that_times_out_says_that_its_outcome_is_unknown() -> None:
    async with connected(request_timeout_s=0.02) as (client, _, __):
        with pytest.raises(TimedOutError, match="unknown"):
            await client.create(CfgPerson(userName="a"))


async def test_a_refused_write_raises_the_refusal() -> None:
    async with connected() as (client, peer, _), calling(client.delete, CfgPerson, 7) as call:
        peer.refuse(await peer.next_request(), ErrorCode.NO_PERMISSION)
    assert isinstance(call.error, AccessDeniedError)


async def test_iterate_yields_parts_and_stops_reading_while_its_consumer_is_slow() -> None:
    async with connected() as (client, peer, _), anyio.create_task_group() as tasks:
        parts: list[list[int]] = []
        go_on = anyio.Event()

        async def consume() -> None:
            async for part in client.iterate(CfgPerson, tenant_dbid=1):
                assert part.position == at(100)
                parts.append([person.DBID for person in part])
                await go_on.wait()

        tasks.start_soon(consume)
        frame, request = await peer.expect(MessageId.READ_OBJECTS, ReadObjects)
        assert request.filter == {"tenant_dbid": 1}
        sent = 0
        while not peer.is_paused:
            sent += 1
            assert sent < 100
            peer.answer_read_part(frame, PERSON, [{"DBID": sent}])
            await anyio.wait_all_tasks_blocked()
        assert len(parts) == 1
        async with calling(client.status) as call:
            request_frame = await peer.next_request(MessageId.READ_STATUS)
            assert not peer.is_paused, "another call must get its answer"
            peer.answer(request_frame, MessageId.STATUS, Status(status={"role": "x"}))
        assert call.result
        assert peer.is_paused
        go_on.set()
        await anyio.wait_all_tasks_blocked()
        assert not peer.is_paused
        peer.answer(frame, MessageId.OBJECTS_SENT, ObjectsSent(total=sent))
        await anyio.wait_all_tasks_blocked()
        assert parts == [[number] for number in range(1, sent + 1)]


async def test_iterate_may_be_left_early_and_what_comes_late_is_dropped() -> None:
    async with connected() as (client, peer, _), anyio.create_task_group() as tasks:

        async def consume() -> None:
            async with client.iterate(CfgPerson) as parts:
                async for _ in parts:
                    return

        tasks.start_soon(consume)
        frame = await peer.next_request(MessageId.READ_OBJECTS)
        peer.answer_read_part(frame, PERSON, [{"DBID": 1}])
        await anyio.wait_all_tasks_blocked()
        peer.answer_read_part(frame, PERSON, [{"DBID": 2}])
        peer.answer(frame, MessageId.OBJECTS_SENT, ObjectsSent(total=2))
        assert client.state is ClientState.CONNECTED


async def test_iterate_raises_when_the_connection_is_lost_or_the_server_stops_sending() -> None:
    async def consume(client: ConfigClient) -> None:
        async for _ in client.iterate(CfgPerson):
            pass

    async with connected() as (client, peer, _), calling(consume, client) as call:
        frame = await peer.next_request(MessageId.READ_OBJECTS)
        peer.answer_read_part(frame, PERSON, [{"DBID": 1}])
        peer.drop()
    assert isinstance(call.error, ConnectionLostError)
    async with connected(request_timeout_s=0.02) as (client, _, __):
        with pytest.raises(TimedOutError, match="CfgPerson"):
            await consume(client)


async def test_a_part_that_cannot_be_read_ends_the_call_with_what_is_wrong() -> None:
    async with connected() as (client, peer, _), calling(client.read, CfgPerson) as call:
        frame = await peer.next_request(MessageId.READ_OBJECTS)
        peer.answer_read(frame, PERSON, [{"DBID": "seven"}])
    assert isinstance(call.error, ModelError)


async def test_cancelling_at_every_await_of_every_call_leaves_the_client_usable() -> None:
    """Each call is cancelled after 0, 1, 2 … turns of the event loop; then another must succeed."""
    before = CfgPerson(DBID=7, userName="a")
    calls: list[Any] = [
        lambda client: client.read(CfgPerson),
        lambda client: client.get(CfgPerson, 7),
        lambda client: client.count(CfgPerson),
        lambda client: client.status(),
        lambda client: client.create(CfgPerson(userName="n")),
        lambda client: client.update(before, CfgPerson(DBID=7, userName="b")),
        lambda client: client.delete(before),
        lambda client: client.subscribe(CfgPerson).__aenter__(),
    ]
    async with connected() as (client, peer, _):
        for call in calls:
            for turns in range(6):
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(call, client)
                        for _ in range(turns):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()
                while peer.waiting_requests:  # late answers to calls that nobody waits for
                    peer.refuse(await peer.next_request(), ErrorCode.UNDEFINED_ERROR)
        async with calling(client.status) as last:
            peer.answer(await peer.next_request(MessageId.READ_STATUS), MessageId.STATUS, Status(status={"role": "x"}))
        assert last.result == {"role": "x"}
        assert client.statistics().subscriptions == 0


async def test_quiet_is_measured_by_the_clock_that_was_given() -> None:
    time_s = 5000.0
    async with connected(clock=lambda: time_s) as (client, peer, _):
        assert client.last_received_s == 5000.0
        time_s = 5007.0
        assert client.statistics().quiet_s == 7.0
        peer.mark(at(101))
        assert (client.last_received_s, client.statistics().quiet_s) == (5007.0, 0.0)
        time_s = 5010.0
        assert client.statistics().quiet_s == 3.0


async def test_a_flood_of_unasked_frames_changes_nothing() -> None:
    async with connected() as (client, peer, _):
        for uen in range(101, 400):
            peer.send(encode_frame(4711, b"", epoch=1, uen=uen))
            peer.mark(at(uen))
        assert client.state is ClientState.CONNECTED
        assert client.position == at(399)
        assert math.isfinite(client.last_received_s)
