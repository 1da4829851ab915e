"""One connection: requests and answers, the change stream, and every way in which it can end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from csproxy.core.changes import Change, Position
from csproxy.errors import (
    ConnectionLostError,
    CsproxyError,
    ErrorCode,
    LocalProtocolError,
    LoginIncorrectError,
    ObjectNotFoundError,
    RemoteProtocolError,
    RetryableError,
    TimedOutError,
)
from csproxy.transport.connection import MAX_ABANDONED, Connection
from csproxy.transport.exchange import EpochOrder
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ReadObjects, SnapshotHandle, Status
from csproxy.transport.wire.registration import RegisterClient, RestoreSession
from csproxy.transport.wire.subscriptions import HistoryLog
from tests.transport.client.scripted import ScriptedConnection, at, created, updated

pytestmark = pytest.mark.anyio

PERSON = 3
REGISTER = RegisterClient(type=1, name="default", user="default", password="p")


@asynccontextmanager
async def opened(peer: ScriptedConnection, *, timeout_s: float = 5) -> AsyncIterator[Connection]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.accept_client)
        connection = await Connection.open(peer, "tests", timeout_s=timeout_s)
        registered = await connection.register(REGISTER)
        assert registered.session == "5e55"
        yield connection
        connection.close()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("chunk_bytes", [0, 1])
async def test_opens_registers_and_answers_requests_whatever_the_pieces(chunk_bytes: int) -> None:
    peer = ScriptedConnection(chunk_bytes=chunk_bytes)
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        assert connection.server_release == "scripted"
        assert connection.position == at(100)
        answers: list[Frame] = []

        async def ask() -> None:
            answers.append(await connection.request(MessageId.READ_STATUS, Empty()))

        tasks.start_soon(ask)
        request = await peer.next_request(MessageId.READ_STATUS)
        peer.answer(request, MessageId.STATUS, Status(status={"role": "proxy"}), at(120))
        await anyio.wait_all_tasks_blocked()
        assert [frame.message for frame in answers] == [MessageId.STATUS]
        assert connection.position == at(120)
        assert "REGISTERED" in repr(connection)


async def test_answers_find_their_requests_in_any_order_and_parts_arrive_synchronously() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        parts: dict[int, list[int]] = {3: [], 4: []}
        done: list[int] = []

        async def read(kind: int) -> None:
            part = parts[kind].append
            await connection.request(
                MessageId.READ_OBJECTS, ReadObjects(type=kind), on_part=lambda frame: part(len(frame.payload))
            )
            done.append(kind)

        tasks.start_soon(read, 3)
        first, payload = await peer.expect(MessageId.READ_OBJECTS, ReadObjects)
        assert payload.type == 3
        tasks.start_soon(read, 4)
        second = await peer.next_request(MessageId.READ_OBJECTS)
        peer.answer_read(second, 4, [{"DBID": 1}])
        assert len(parts[4]) == 1, "parts are delivered inside the receive call"
        peer.answer_read(first, 3, [{"DBID": 1}, {"DBID": 2}])
        await anyio.wait_all_tasks_blocked()
        assert done == [4, 3] or set(done) == {3, 4}
        assert [len(found) for found in parts.values()] == [1, 1]


async def test_an_error_answer_becomes_its_exception() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:

        async def ask(expected: type[CsproxyError]) -> None:
            with pytest.raises(expected) as caught:
                await connection.request(MessageId.READ_STATUS)
            assert "sorry" in str(caught.value)
            if isinstance(caught.value, RetryableError):
                assert caught.value.retry_after_s == 1.5

        tasks.start_soon(ask, ObjectNotFoundError)
        peer.refuse(await peer.next_request(), ErrorCode.OBJECT_NOT_FOUND, "sorry")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask, RetryableError)
        peer.refuse(await peer.next_request(), ErrorCode.UNDEFINED_ERROR, "sorry", retry_after_s=1.5)


async def test_a_refused_registration_leaves_the_connection_ready_for_another() -> None:
    peer = ScriptedConnection()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.accept_version)
        connection = await Connection.open(peer, "tests")

        async def refuse_then_accept() -> None:
            peer.refuse(await peer.next_request(MessageId.RESTORE_SESSION), ErrorCode.LOGIN_INCORRECT)
            await peer.accept_registration(message=MessageId.REGISTER_CLIENT_2)

        tasks.start_soon(refuse_then_accept)
        with pytest.raises(LoginIncorrectError):
            await connection.restore(RestoreSession(type=1, name="default", session="gone"))
        await connection.register(RegisterClient(type=1, name="default", password="a", new_password="b"))
        connection.close()


async def test_a_silent_peer_ends_in_timed_out_and_the_late_answer_is_dropped() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        with pytest.raises(TimedOutError, match="ReadStatus"):
            await connection.request(MessageId.READ_STATUS, timeout_s=0.01)
        late = await peer.next_request(MessageId.READ_STATUS)
        peer.answer(late, MessageId.STATUS, Status(status={}))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.request, MessageId.PING)
            peer.answer(await peer.next_request(MessageId.PING), MessageId.PONG)


async def test_a_silent_peer_ends_opening_too_and_the_channel_is_closed() -> None:
    peer = ScriptedConnection()
    with pytest.raises(TimedOutError, match="ProtocolVersion"):
        await Connection.open(peer, "tests", timeout_s=0.01)
    assert peer.is_closed


async def test_a_cancelled_request_leaves_the_connection_usable() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        seen: list[Frame] = []
        scope = anyio.CancelScope()

        async def read() -> None:
            with scope:
                await connection.request(MessageId.READ_OBJECTS, ReadObjects(type=3), on_part=seen.append)

        tasks.start_soon(read)
        request = await peer.next_request(MessageId.READ_OBJECTS)
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        peer.answer_read(request, 3, [{"DBID": 1}])
        assert seen == []
        tasks.start_soon(connection.request, MessageId.PING)
        peer.answer(await peer.next_request(MessageId.PING), MessageId.PONG)


async def test_a_cancelled_registration_closes_the_connection() -> None:
    peer = ScriptedConnection()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.accept_version)
        connection = await Connection.open(peer, "tests")
        scope = anyio.CancelScope()

        async def register() -> None:
            with scope:
                await connection.register(REGISTER)

        tasks.start_soon(register)
        await peer.next_request(MessageId.REGISTER_CLIENT)
        scope.cancel()
        await peer.client_closed()
        assert isinstance(connection.error, ConnectionLostError)


async def test_a_peer_that_never_answers_is_given_up_instead_of_filling_memory() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        for _ in range(MAX_ABANDONED + 1):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await connection.request(MessageId.PING)
        assert "without an answer" in str(connection.error)


async def test_a_lost_connection_fails_all_waiters_with_the_servers_reason() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        errors: list[ConnectionLostError] = []
        closed: list[CsproxyError] = []
        connection.on_closed = closed.append

        async def ask() -> None:
            with pytest.raises(ConnectionLostError) as caught:
                await connection.request(MessageId.READ_STATUS)
            errors.append(caught.value)

        for _ in range(3):
            tasks.start_soon(ask)
        for _ in range(3):
            await peer.next_request(MessageId.READ_STATUS)
        peer.notice(ErrorCode.FORCED_DISCONNECT, "the server stops", retry_after_s=2)
        peer.drop()
        await anyio.wait_all_tasks_blocked()
        assert len(errors) == 3
        assert {error.code for error in errors} == {ErrorCode.FORCED_DISCONNECT}
        assert all("the server stops" in str(error) for error in errors)
        assert len({id(error) for error in errors}) == 3, "each waiter gets an exception of its own"
        assert closed == [connection.error]
        assert connection.retry_after_s == 2
        assert await connection.wait_closed() is connection.error
        with pytest.raises(ConnectionLostError, match="the server stops"):
            await connection.request(MessageId.PING)
        assert connection.post(MessageId.PING) is None


@pytest.mark.parametrize(
    ("error", "words"), [(None, "without giving a reason"), (OSError("reset by peer"), "reset by peer")]
)
async def test_a_connection_that_breaks_says_what_is_known(error: Exception | None, words: str) -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        closed: list[CsproxyError] = []
        connection.on_closed = closed.append
        peer.drop(error)
        assert len(closed) == 1
        assert words in str(closed[0])


async def test_closing_is_not_reported_to_on_closed_but_ends_waiters() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        closed: list[CsproxyError] = []
        connection.on_closed = closed.append

        async def ask() -> None:
            with pytest.raises(ConnectionLostError, match="by this side"):
                await connection.request(MessageId.PING)

        tasks.start_soon(ask)
        await peer.next_request(MessageId.PING)
        connection.close()
        connection.close()
        await anyio.wait_all_tasks_blocked()
        assert closed == []
        assert peer.is_closed


async def test_changes_and_marks_arrive_in_order_with_their_history_flag() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        events: list[object] = []

        def on_change(change: Change) -> None:
            events.append((change.position.uen, change.last, connection.from_history))

        connection.on_change = on_change
        connection.on_mark = lambda position: events.append(position)
        peer.send(
            created(PERSON, {"DBID": 7}, at(90), history=True)
            + created(PERSON, {"DBID": 8}, at(101), last=False)
            + updated(PERSON, 7, {"firstName": "A"}, at(102))
        )
        peer.mark(at(110))
        assert events == [(90, True, True), (101, False, False), (102, True, False), at(110)]
        assert connection.position == at(110)
        assert connection.from_history is False


async def test_the_end_of_a_replay_is_a_mark_before_what_follows_it() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        events: list[object] = []
        connection.on_change = lambda change: events.append(change.position.uen)
        connection.on_mark = lambda position: events.append(("mark", position.uen))
        tasks.start_soon(lambda: connection.request(MessageId.HISTORY_LOG, HistoryLog(session="5e55"), minimum=at(90)))
        request = await peer.next_request(MessageId.HISTORY_LOG)
        assert (request.epoch, request.uen) == at(90)
        peer.send(created(PERSON, {"DBID": 7}, at(95), history=True))
        peer.answer(request, MessageId.HISTORY_LOG_SENT, None, at(100))
        peer.send(created(PERSON, {"DBID": 8}, at(101)))
        assert events == [95, ("mark", 100), 101]


async def test_a_callback_error_reaches_the_request_and_only_a_protocol_error_ends_the_connection() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:

        async def read(error: Exception) -> None:
            def refuse(_: Frame) -> None:
                raise error

            with pytest.raises(type(error)):
                await connection.request(MessageId.READ_OBJECTS, ReadObjects(type=3), on_part=refuse)

        tasks.start_soon(read, KeyError("x"))
        peer.answer_read(await peer.next_request(), 3, [{"DBID": 1}])
        await anyio.wait_all_tasks_blocked()
        assert connection.error is None
        tasks.start_soon(read, RemoteProtocolError("bad part"))
        peer.answer_read(await peer.next_request(), 3, [{"DBID": 1}])
        await anyio.wait_all_tasks_blocked()
        assert isinstance(connection.error, RemoteProtocolError)
        assert peer.is_closed


@pytest.mark.parametrize(
    "lie",
    [
        encode_frame(MessageId.STATUS, b"", request=4711, flags=FLAG_END),
        encode_frame(MessageId.PING, b"", flags=FLAG_END),
        encode_frame(MessageId.OBJECT_CREATED, b"\x80"),
        encode_frame(MessageId.DISCONNECTED, b"\xc1"),
        b"\xff\xff\xff\xff" + bytes(40),
    ],
)
async def test_a_peer_that_lies_ends_the_connection_with_what_was_wrong(lie: bytes) -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        closed: list[CsproxyError] = []
        connection.on_closed = closed.append
        peer.send(lie)
        assert len(closed) == 1
        assert isinstance(closed[0], RemoteProtocolError)
        assert peer.is_closed
        with pytest.raises(ConnectionLostError):
            await connection.request(MessageId.PING)


async def test_a_wrong_protocol_is_told_when_opening() -> None:
    peer = ScriptedConnection()
    async with anyio.create_task_group() as tasks:

        async def speak_http() -> None:
            await peer.next_request(MessageId.PROTOCOL_VERSION)
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n and so on")

        tasks.start_soon(speak_http)
        with pytest.raises(ConnectionLostError, match="limit"):
            await Connection.open(peer, "tests")
    assert peer.is_closed


async def test_a_full_send_buffer_holds_requests_back_until_it_drains() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        peer.fill()
        with pytest.raises(TimedOutError, match="not sent"):
            await connection.request(MessageId.PING, timeout_s=0.01)
        tasks.start_soon(connection.request, MessageId.PING)
        await anyio.wait_all_tasks_blocked()
        assert peer.waiting_requests == 0
        peer.drain()
        peer.answer(await peer.next_request(MessageId.PING), MessageId.PONG)


async def test_a_connection_lost_while_the_send_buffer_is_full_ends_the_wait() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        peer.fill()

        async def ask() -> None:
            with pytest.raises(ConnectionLostError):
                await connection.request(MessageId.PING)

        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        peer.drop()


async def test_a_request_that_the_state_forbids_is_a_local_error() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        with pytest.raises(LocalProtocolError):
            await connection.register(REGISTER)
        assert isinstance(connection.error, LocalProtocolError)


async def test_a_request_above_the_servers_frame_limit_is_refused_here_and_hurts_nobody() -> None:
    peer = ScriptedConnection()
    peer.protocol._max_frame = 1000
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        with pytest.raises(LocalProtocolError, match="up to 1000"):
            await connection.request(MessageId.READ_OBJECTS, ReadObjects(type=3, filter={"user_name": "x" * 1000}))
        tasks.start_soon(connection.request, MessageId.PING)
        peer.answer(await peer.next_request(MessageId.PING), MessageId.PONG)


async def test_a_posted_request_is_not_waited_for() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        granted = connection.post(MessageId.CLOSE_SNAPSHOT, SnapshotHandle(snapshot=1))
        refused = connection.post(MessageId.CLOSE_SNAPSHOT, SnapshotHandle(snapshot=2))
        assert granted is not None
        assert refused is not None
        assert "open" in repr(granted)
        peer.answer(await peer.next_request(MessageId.CLOSE_SNAPSHOT), MessageId.SNAPSHOT_CLOSED)
        peer.refuse(await peer.next_request(MessageId.CLOSE_SNAPSHOT), ErrorCode.OBJECT_NOT_FOUND)
        assert "answered" in repr(granted)
        assert "failed" in repr(refused)
        assert isinstance(refused.error, ObjectNotFoundError)


async def test_a_disconnect_notice_with_a_position_closes_the_stream_there() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        marks: list[Position] = []
        connection.on_mark = marks.append
        peer.send(peer.protocol.disconnect(ErrorCode.FORCED_DISCONNECT, "stops", at(130)))
        assert marks == [at(130)]


async def test_reading_stops_only_while_every_open_request_is_held() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection, anyio.create_task_group() as tasks:
        slow = connection.begin(MessageId.READ_OBJECTS, ReadObjects(type=3))
        slow.hold(True)
        assert peer.is_paused
        tasks.start_soon(connection.request, MessageId.PING)
        await anyio.wait_all_tasks_blocked()
        assert not peer.is_paused, "a request made meanwhile must be able to get its answer"
        await peer.next_request(MessageId.READ_OBJECTS)
        peer.answer(await peer.next_request(MessageId.PING), MessageId.PONG)
        assert peer.is_paused
        slow.hold(False)
        assert not peer.is_paused
        slow.hold(True)
        slow.give_up()
        assert not peer.is_paused


async def test_a_request_in_the_background_has_no_say_in_whether_the_connection_reads() -> None:
    peer = ScriptedConnection()
    async with opened(peer) as connection:
        connection.post(MessageId.PING, background=True)
        assert not peer.is_paused, "alone it must not stop reading: its answer would never come"
        slow = connection.begin(MessageId.READ_OBJECTS, ReadObjects(type=3))
        slow.hold(True)
        assert peer.is_paused
        connection.post(MessageId.PING, background=True)
        assert peer.is_paused
        slow.give_up()
        assert not peer.is_paused


def test_positions_are_ordered_by_the_epoch_table_then_by_uen() -> None:
    order = EpochOrder([(70, 1), (30, 100)])
    assert order.is_later(Position(30, 101), Position(70, 99))
    assert not order.is_later(Position(70, 99), Position(30, 101))
    assert order.is_later(Position(30, 5), Position(30, 4))
    assert not order.is_later(Position(30, 5), Position(30, 5))
    assert order.is_later(Position(99, 1), Position(30, 500)), "an epoch after the table is the newest"
    assert order.is_later(Position(70, 1), Position(0, 0))
    assert not order.is_later(Position(0, 0), Position(70, 1))


def test_two_epochs_that_began_after_the_table_was_read_are_ordered_by_uen_whichever_was_heard_of_first() -> None:
    order = EpochOrder([(70, 1)])
    newest, between = Position(99, 116), Position(88, 103)
    assert order.is_later(newest, Position(70, 50))
    assert not order.is_later(between, newest)
    assert order.is_later(newest, between)
    assert order.is_later(between, Position(70, 102))
    assert order.is_later(Position(88, 104), between)
