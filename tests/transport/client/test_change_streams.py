"""Change streams: order, exactness across lost connections, transactions, slow consumers, gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from csproxy.core.changes import Action, Position
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import CfgPerson, CfgSkill
from csproxy.errors import (
    ConfigurationError,
    ConnectionLostError,
    ErrorCode,
    HistoryExpiredError,
    LocalProtocolError,
    LoginIncorrectError,
    ModelError,
)
from csproxy.transport.client import ClientState, ConfigClient
from csproxy.transport.client_changes import ObjectChange
from csproxy.transport.client_subscriptions import ChangeStream
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.registration import RestoreSession
from csproxy.transport.wire.subscriptions import HistoryLog, RegisterNotification, ResumeFrom, UnregisterNotification
from tests.transport.client.scripted import AT_100, ScriptedConnection, ScriptedServer, at, created, deleted, updated
from tests.transport.client.test_config_client import calling, connected

pytestmark = pytest.mark.anyio

PERSON, SKILL = 3, 13


class Consumer:
    """Collects what a stream yields."""

    def __init__(self, stream: ChangeStream) -> None:
        self.stream = stream
        self.changes: list[ObjectChange] = []
        self.error: Exception | None = None
        self.has_ended = False

    async def run(self) -> None:
        try:
            async for change in self.stream:
                self.changes.append(change)
        except Exception as e:  # noqa: BLE001 - what ended the stream is what the test is about
            self.error = e
        self.has_ended = True

    @property
    def uens(self) -> list[int]:
        return [change.position.uen for change in self.changes]


@asynccontextmanager
async def following(
    client: ConfigClient, peer: ScriptedConnection, *arguments: Any, position: Position = AT_100, **options: Any
) -> AsyncIterator[Consumer]:
    """A stream that the script has accepted, and its consumer."""
    stream = client.subscribe(*arguments, **options)
    async with calling(stream.__aenter__) as call:
        peer.answer(
            await peer.next_request(MessageId.REGISTER_NOTIFICATION), MessageId.NOTIFICATION_REGISTERED, None, position
        )
    assert call.error is None
    consumer = Consumer(stream)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run)
        yield consumer
        stream.close()


async def reconnect(server: ScriptedServer, *, since: Position) -> tuple[ScriptedConnection, Any]:
    """The client comes back with its session and asks for what it missed."""
    peer = await server.next_connection()
    await peer.accept_client(message=MessageId.RESTORE_SESSION)
    frame, request = await peer.expect(MessageId.HISTORY_LOG, HistoryLog)
    assert request.session == "5e55"
    assert Position(frame.epoch, frame.uen) == since
    return peer, frame


async def test_changes_arrive_typed_and_in_order() -> None:
    async with connected() as (client, peer, _), following(client, peer, CfgPerson) as consumer:
        assert consumer.stream.position == at(100)
        peer.send(created(PERSON, {"DBID": 7, "userName": "a"}, at(101)))
        peer.send(updated(PERSON, 7, {"firstName": "A"}, at(102)))
        peer.send(deleted(PERSON, {"DBID": 7, "firstName": "A"}, at(103)))
        await anyio.wait_all_tasks_blocked()
        first, second, third = consumer.changes
        assert (first.action, first.type, first.dbid, first.folder) == (Action.CREATED, CfgPerson, 7, 1)
        assert first.object == CfgPerson(DBID=7, userName="a")
        assert (first.user, first.application) == ("u", "a")
        assert first.time == datetime.fromtimestamp(0.005, tz=UTC)
        assert second.delta is not None
        assert second.delta.firstName == "A"  # type: ignore[attr-defined]
        assert second.object is None
        assert third.former == CfgPerson(DBID=7, firstName="A")
        assert [change.last for change in consumer.changes] == [True, True, True]
        assert not any(change.from_history for change in consumer.changes)
        assert consumer.stream.position == at(103) == client.position
        assert "CfgPerson LIVE" in repr(consumer.stream)


async def test_the_request_carries_the_fields_and_the_start() -> None:
    async with connected() as (client, peer, _):
        stream = client.subscribe(CfgPerson, tenant_dbid=101, dbid=7, since=at(90), exclude_bytecode=True)
        async with calling(stream.__aenter__):
            frame, request = await peer.expect(MessageId.REGISTER_NOTIFICATION, RegisterNotification)
            assert Position(frame.epoch, frame.uen) == at(90)
            expected = RegisterNotification(object_type=PERSON, tenant_id=101, object_dbid=7, exclude_bytecode=True)
            assert request == expected
            peer.answer(frame, MessageId.NOTIFICATION_REGISTERED)
            peer.send(updated(PERSON, 7, {"firstName": "A"}, at(95), history=True))
            peer.send(updated(PERSON, 8, {"firstName": "B"}, at(96), history=True))
            peer.mark(at(100))
        change = await anext(stream)
        assert (change.position.uen, change.from_history) == (95, True)
        assert stream.position == at(100)
        stream.close()
        _, left = await peer.expect(MessageId.UNREGISTER_NOTIFICATION, UnregisterNotification)
        assert left.object_dbid == 7


async def test_a_transaction_is_delivered_when_it_is_complete_and_ends_with_last() -> None:
    async with connected() as (client, peer, _), following(client, peer, CfgPerson) as consumer:
        peer.send(created(PERSON, {"DBID": 7}, at(101), last=False))
        peer.send(created(PERSON, {"DBID": 8}, at(102), last=False))
        await anyio.wait_all_tasks_blocked()
        assert consumer.changes == []
        assert consumer.stream.position == at(100)
        peer.mark(at(104))  # the rest of the transaction is not for this subscription
        await anyio.wait_all_tasks_blocked()
        assert [change.last for change in consumer.changes] == [False, True]
        assert consumer.stream.position == at(104)


async def test_the_position_of_a_consumer_stands_only_at_transaction_ends() -> None:
    async with connected() as (client, peer, _):
        stream = client.subscribe(CfgPerson)
        async with calling(stream.__aenter__):
            peer.answer(await peer.next_request(), MessageId.NOTIFICATION_REGISTERED)
        peer.send(created(PERSON, {"DBID": 7}, at(101), last=False) + created(PERSON, {"DBID": 8}, at(102)))
        await anext(stream)
        assert stream.position == at(100)
        assert stream.received == at(102)
        await anext(stream)
        assert stream.position == at(102)


async def test_whole_transactions_can_be_iterated() -> None:
    async with connected() as (client, peer, _):
        stream = client.subscribe()
        async with calling(stream.__aenter__):
            peer.answer(await peer.next_request(), MessageId.NOTIFICATION_REGISTERED)
        peer.send(created(PERSON, {"DBID": 7}, at(101), last=False) + created(SKILL, {"DBID": 1}, at(102)))
        peer.send(created(PERSON, {"DBID": 8}, at(103)))
        seen = []
        async for transaction in stream.transactions():
            seen.append([change.position.uen for change in transaction])
            if len(seen) == 2:
                stream.close()
        assert seen == [[101, 102], [103]]


async def test_streams_of_one_client_get_what_each_wants_and_a_replay_for_one_repeats_nothing_for_others() -> None:
    async with (
        connected() as (client, peer, _),
        following(client, peer, CfgPerson) as persons,
        following(client, peer, CfgSkill) as skills,
    ):
        peer.send(created(PERSON, {"DBID": 7}, at(101), last=False) + created(SKILL, {"DBID": 1}, at(102)))
        await anyio.wait_all_tasks_blocked()
        assert (persons.uens, skills.uens) == ([101], [102])
        async with following(client, peer, CfgPerson, since=at(80)) as late:
            peer.send(created(PERSON, {"DBID": 5}, at(90), history=True))
            peer.send(created(PERSON, {"DBID": 7}, at(101), history=True))
            peer.mark(at(102))
            peer.send(created(PERSON, {"DBID": 9}, at(103)))
            await anyio.wait_all_tasks_blocked()
            assert late.uens == [90, 101, 103]
            assert [change.from_history for change in late.changes] == [True, True, False]
            assert persons.uens == [101, 103]
            assert late.stream.position == persons.stream.position == skills.stream.position == at(103)


async def test_the_server_is_told_when_the_last_stream_with_the_same_fields_ends() -> None:
    async with connected() as (client, peer, _):
        async with following(client, peer, CfgPerson):
            async with following(client, peer, CfgPerson):
                pass
            assert peer.waiting_requests == 0
        await peer.next_request(MessageId.UNREGISTER_NOTIFICATION)
        assert client.statistics().subscriptions == 0


async def test_a_stream_that_ends_while_another_with_the_same_fields_registers_leaves_it_its_subscription() -> None:
    async with connected() as (client, peer, _):
        first = client.subscribe(CfgPerson)
        async with calling(first.__aenter__):
            peer.answer(await peer.next_request(), MessageId.NOTIFICATION_REGISTERED)
        second = client.subscribe(CfgPerson)
        async with calling(second.__aenter__):
            request = await peer.next_request(MessageId.REGISTER_NOTIFICATION)
            first.close()
            assert peer.waiting_requests == 0
            peer.answer(request, MessageId.NOTIFICATION_REGISTERED)
        peer.send(created(PERSON, {"DBID": 7}, at(101)))
        assert (await anext(second)).dbid == 7


async def test_a_subscription_that_is_cancelled_on_the_way_is_taken_back() -> None:
    async with connected() as (client, peer, _), anyio.create_task_group() as tasks:
        tasks.start_soon(client.subscribe(CfgPerson).__aenter__)
        request = await peer.next_request(MessageId.REGISTER_NOTIFICATION)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await peer.next_request(MessageId.UNREGISTER_NOTIFICATION)
            peer.answer(request, MessageId.NOTIFICATION_REGISTERED)
        assert client.statistics().subscriptions == 0


async def test_different_tenants_need_different_clients() -> None:
    async with connected() as (client, peer, _), following(client, peer, CfgPerson, tenant_dbid=101):
        for arguments, tenant_dbid in (((CfgPerson,), 102), ((), 0), ((CfgPerson,), 0)):
            with pytest.raises(ConfigurationError, match="another ConfigClient"):
                await client.subscribe(*arguments, tenant_dbid=tenant_dbid).__aenter__()
        async with following(client, peer, CfgSkill, tenant_dbid=102):
            pass


async def test_wrong_uses_are_named() -> None:
    async with connected() as (client, peer, _):
        with pytest.raises(ModelError, match="object type"):
            client.subscribe(dbid=7)
        async with following(client, peer) as consumer:
            with pytest.raises(LocalProtocolError, match="entered once"):
                await consumer.stream.__aenter__()


async def test_a_restored_session_continues_without_gap_or_duplicate() -> None:
    async with connected() as (client, peer, server), following(client, peer, CfgPerson) as consumer:
        states: list[ClientState] = []
        stop = client.observe(states.append)
        peer.send(created(PERSON, {"DBID": 7}, at(101)))
        peer.mark(at(105))
        peer.drop()
        peer, frame = await reconnect(server, since=at(105))
        peer.send(created(PERSON, {"DBID": 8}, at(106), history=True))
        peer.answer(frame, MessageId.HISTORY_LOG_SENT, None, at(106))
        peer.send(created(PERSON, {"DBID": 9}, at(107)))
        await anyio.wait_all_tasks_blocked()
        assert consumer.uens == [101, 106, 107]
        assert [change.from_history for change in consumer.changes] == [False, True, False]
        assert states == [ClientState.SUSPENDED, ClientState.CONNECTED]
        stop()
        assert client.statistics().restores == 1
        assert client.statistics().reconnects == 1


@pytest.mark.parametrize("losses", [1, 2])
async def test_a_transaction_cut_by_a_lost_connection_is_delivered_once_and_whole(losses: int) -> None:
    async with connected() as (client, peer, server), following(client, peer, CfgPerson) as consumer:
        for _ in range(losses):
            peer.send(created(PERSON, {"DBID": 7}, at(101), last=False))
            peer.drop()
            peer, frame = await reconnect(server, since=at(100))
        peer.send(created(PERSON, {"DBID": 7}, at(101), last=False, history=True))
        peer.send(created(PERSON, {"DBID": 8}, at(102), history=True))
        peer.answer(frame, MessageId.HISTORY_LOG_SENT, None, at(102))
        await anyio.wait_all_tasks_blocked()
        assert consumer.uens == [101, 102]
        assert [change.last for change in consumer.changes] == [False, True]


async def test_without_the_session_the_client_registers_and_resumes_its_streams_together() -> None:
    async with (
        connected() as (client, peer, server),
        following(client, peer, CfgPerson) as persons,
        following(client, peer, CfgSkill) as skills,
    ):
        peer.send(created(PERSON, {"DBID": 7}, at(101)))
        peer.drop()
        peer = await server.next_connection()
        await peer.accept_version()
        peer.refuse(await peer.next_request(MessageId.RESTORE_SESSION), ErrorCode.HISTORY_LOG_EXPIRED)
        await peer.accept_registration(session="new", position=at(120))
        frame, request = await peer.expect(MessageId.RESUME_FROM, ResumeFrom)
        assert Position(frame.epoch, frame.uen) == at(101)
        assert [item.object_type for item in request.subscriptions] == [PERSON, SKILL]
        peer.send(created(SKILL, {"DBID": 2}, at(115), history=True))
        peer.send(created(PERSON, {"DBID": 8}, at(116), history=True))
        peer.answer(frame, MessageId.HISTORY_LOG_SENT, None, at(120))
        await anyio.wait_all_tasks_blocked()
        assert persons.uens == [101, 116]
        assert skills.uens == [115]
        assert client.session_id == "new"
        assert client.statistics().registrations == 2


async def test_in_a_new_session_streams_that_stand_elsewhere_are_resumed_each_from_its_own_place() -> None:
    """Another server may have reloaded in between: its difference since 105 is not for a stream that stands at 110."""
    async with (
        connected() as (client, peer, server),
        following(client, peer, CfgPerson) as persons,
        following(client, peer, CfgSkill, position=at(110)) as skills,
    ):
        peer.drop()
        peer = await server.next_connection()
        await peer.accept_version()
        peer.refuse(await peer.next_request(MessageId.RESTORE_SESSION), ErrorCode.HISTORY_LOG_EXPIRED)
        await peer.accept_registration(session="new", position=at(120))
        frame, resume = await peer.expect(MessageId.RESUME_FROM, ResumeFrom)
        assert Position(frame.epoch, frame.uen) == at(110)
        assert [item.object_type for item in resume.subscriptions] == [SKILL]
        peer.send(created(SKILL, {"DBID": 2}, at(115), history=True))
        peer.answer(frame, MessageId.HISTORY_LOG_SENT, None, at(120))
        frame, request = await peer.expect(MessageId.REGISTER_NOTIFICATION, RegisterNotification)
        assert Position(frame.epoch, frame.uen) == at(100)
        assert request.object_type == PERSON
        peer.send(created(PERSON, {"DBID": 9}, at(121)))
        peer.answer(frame, MessageId.NOTIFICATION_REGISTERED, None, at(121))
        peer.send(created(PERSON, {"DBID": 8}, at(116), history=True))
        peer.send(created(PERSON, {"DBID": 9}, at(121), history=True))
        peer.mark(at(121))
        await anyio.wait_all_tasks_blocked()
        assert skills.uens == [115]
        assert persons.uens == [116, 121]
        assert persons.stream.position == skills.stream.position == at(121)


async def test_a_session_lost_before_its_subscriptions_were_resumed_is_not_restored() -> None:
    """It would hold no subscriptions: an empty history up to now, and so a silent gap."""
    async with connected() as (client, peer, server), following(client, peer, CfgPerson) as consumer:
        peer.drop()
        for session, first in (("second", MessageId.RESTORE_SESSION), ("third", MessageId.REGISTER_CLIENT)):
            peer = await server.next_connection()
            await peer.accept_version()
            if first is MessageId.RESTORE_SESSION:
                peer.refuse(await peer.next_request(first), ErrorCode.HISTORY_LOG_EXPIRED)
            await peer.accept_registration(session=session, position=at(110))
            frame = await peer.next_request(MessageId.RESUME_FROM)
            assert Position(frame.epoch, frame.uen) == at(100)
            if session == "second":
                peer.drop()
        peer.send(created(PERSON, {"DBID": 7}, at(105), history=True))
        peer.answer(frame, MessageId.HISTORY_LOG_SENT, None, at(110))
        await anyio.wait_all_tasks_blocked()
        assert consumer.uens == [105]
        peer.drop()
        peer = await server.next_connection()
        await peer.accept_version()
        restored = await peer.accept_registration(message=MessageId.RESTORE_SESSION)
        assert decode_payload(RestoreSession, restored.payload).session == "third"


async def test_a_gap_ends_only_the_streams_that_stand_before_the_history() -> None:
    async with (
        connected() as (client, peer, server),
        following(client, peer, CfgPerson) as persons,
        following(client, peer, CfgSkill, position=at(110)) as skills,
    ):
        peer.drop()
        peer, frame = await reconnect(server, since=at(100))
        peer.refuse(frame, ErrorCode.HISTORY_LOG_EXPIRED, "the history starts after UEN 105")
        frame = await peer.next_request(MessageId.HISTORY_LOG)
        assert Position(frame.epoch, frame.uen) == at(110)
        peer.answer(frame, MessageId.HISTORY_LOG_SENT, None, at(120))
        _, left = await peer.expect(MessageId.UNREGISTER_NOTIFICATION, UnregisterNotification)
        assert left.object_type == PERSON
        peer.send(created(SKILL, {"DBID": 1}, at(121)))
        await anyio.wait_all_tasks_blocked()
        assert isinstance(persons.error, HistoryExpiredError)
        assert skills.uens == [121]


async def test_a_session_whose_streams_all_expired_still_serves() -> None:
    async with connected() as (client, peer, server), following(client, peer, CfgPerson) as consumer:
        peer.drop()
        peer, frame = await reconnect(server, since=at(100))
        peer.refuse(frame, ErrorCode.HISTORY_LOG_EXPIRED)
        frame = await peer.next_request(MessageId.HISTORY_LOG)
        peer.answer(frame, MessageId.HISTORY_LOG_SENT)
        await anyio.wait_all_tasks_blocked()
        assert isinstance(consumer.error, HistoryExpiredError)
        assert client.state is ClientState.CONNECTED


async def test_a_start_before_the_history_is_told_when_subscribing() -> None:
    async with connected() as (client, peer, _), calling(client.subscribe(CfgPerson, since=at(1)).__aenter__) as call:
        peer.refuse(await peer.next_request(MessageId.REGISTER_NOTIFICATION), ErrorCode.HISTORY_LOG_EXPIRED)
    assert isinstance(call.error, HistoryExpiredError)
    assert client.statistics().subscriptions == 0


async def test_what_was_given_up_while_disconnected_is_given_up_in_the_restored_session() -> None:
    async with connected() as (client, peer, server):
        async with following(client, peer, CfgPerson):
            peer.drop()
        peer = await server.next_connection()
        await peer.accept_restored()
        _, left = await peer.expect(MessageId.UNREGISTER_NOTIFICATION, UnregisterNotification)
        assert left.object_type == PERSON


async def test_a_subscription_under_way_when_the_connection_breaks_is_made_on_the_next_one() -> None:
    async with connected() as (client, peer, server):
        stream = client.subscribe(CfgPerson, since=at(90))
        async with calling(stream.__aenter__):
            await peer.next_request(MessageId.REGISTER_NOTIFICATION)
            peer.drop()
            peer = await server.next_connection()
            await peer.accept_restored()
            frame = await peer.next_request(MessageId.REGISTER_NOTIFICATION)
            assert Position(frame.epoch, frame.uen) == at(90)
            peer.answer(frame, MessageId.NOTIFICATION_REGISTERED)
            peer.send(created(PERSON, {"DBID": 7}, at(95), history=True))
        assert (await anext(stream)).dbid == 7


async def test_a_slow_consumer_costs_a_bounded_buffer_and_misses_nothing() -> None:
    async with connected() as (client, peer, _):
        stream = client.subscribe(CfgPerson, buffer_bytes=300)
        async with calling(stream.__aenter__):
            peer.answer(await peer.next_request(), MessageId.NOTIFICATION_REGISTERED)
        sent = list(range(101, 151))
        for uen in sent:
            peer.send(created(PERSON, {"DBID": uen}, at(uen)))
        assert stream.overflows == 1
        await peer.next_request(MessageId.UNREGISTER_NOTIFICATION)
        assert peer.waiting_requests == 0, "the server is asked again only when the buffer is empty"
        got: list[int] = []

        async def serve() -> None:
            while True:
                frame = await peer.next_request()
                if frame.message == MessageId.REGISTER_NOTIFICATION:
                    peer.answer(frame, MessageId.NOTIFICATION_REGISTERED, None, at(150))
                    for uen in range(frame.uen + 1, 151):
                        peer.send(created(PERSON, {"DBID": uen}, at(uen), history=True))
                    peer.mark(at(150))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            while len(got) < len(sent):
                got.append((await anext(stream)).position.uen)
            tasks.cancel_scope.cancel()
        assert got == sent
        assert stream.overflows > 1
        assert stream.position == at(150)


async def test_a_transaction_larger_than_the_buffer_is_taken_whole() -> None:
    async with connected() as (client, peer, _), following(client, peer, CfgPerson, buffer_bytes=10) as consumer:
        peer.send(created(PERSON, {"DBID": 7}, at(101), last=False) + created(PERSON, {"DBID": 8}, at(102)))
        await anyio.wait_all_tasks_blocked()
        assert consumer.uens == [101, 102]


async def test_a_slow_stream_that_fell_out_of_the_history_says_so_after_what_it_has() -> None:
    async with connected() as (client, peer, _):
        stream = client.subscribe(CfgPerson, buffer_bytes=10)
        async with calling(stream.__aenter__):
            peer.answer(await peer.next_request(), MessageId.NOTIFICATION_REGISTERED)
        peer.send(created(PERSON, {"DBID": 7}, at(101)) + created(PERSON, {"DBID": 8}, at(102)))
        assert (await anext(stream)).position.uen == 101
        await peer.next_request(MessageId.UNREGISTER_NOTIFICATION)
        for _ in range(2):
            async with calling(stream.__anext__) as call:
                if peer.waiting_requests or not stream.overflows or call.error is None:
                    with anyio.move_on_after(0.2):
                        peer.refuse(await peer.next_request(), ErrorCode.HISTORY_LOG_EXPIRED)
            assert isinstance(call.error, HistoryExpiredError)


async def test_a_change_of_an_unknown_type_ends_the_stream_instead_of_being_passed_over() -> None:
    async with connected() as (client, peer, _), following(client, peer) as consumer:
        peer.send(created(999, {"DBID": 7}, at(101)))
        await anyio.wait_all_tasks_blocked()
        assert isinstance(consumer.error, ModelError)
        assert client.statistics().subscriptions == 0


async def test_a_database_from_a_backup_shows_in_the_epoch_and_its_changes_are_delivered() -> None:
    """A proxy that reloads into another history delivers the difference at a lower UEN of a new epoch."""
    async with connected() as (client, peer, _), following(client, peer, CfgPerson) as consumer:
        peer.send(created(PERSON, {"DBID": 7}, at(101)))
        peer.send(deleted(PERSON, {"DBID": 7}, at(60, epoch=0xE2)))
        await anyio.wait_all_tasks_blocked()
        assert [change.position for change in consumer.changes] == [at(101), at(60, epoch=0xE2)]
        assert client.position == at(60, epoch=0xE2)


async def test_a_refused_return_ends_the_client_and_its_streams_with_the_reason() -> None:
    async with connected() as (client, peer, server), following(client, peer, CfgPerson) as consumer:
        peer.drop()
        peer = await server.next_connection()
        await peer.accept_version()
        peer.refuse(await peer.next_request(MessageId.RESTORE_SESSION), ErrorCode.HISTORY_LOG_EXPIRED)
        peer.refuse(await peer.next_request(MessageId.REGISTER_CLIENT), ErrorCode.LOGIN_INCORRECT, "no longer")
        with anyio.fail_after(5):
            assert await client.wait_for(ClientState.LOST) is ClientState.LOST
        await anyio.wait_all_tasks_blocked()
        assert isinstance(consumer.error, ConnectionLostError)
        assert "no longer" in str(consumer.error)
        assert isinstance(consumer.error.__cause__, LoginIncorrectError)
        with pytest.raises(ConnectionLostError, match="given up"):
            await client.read(CfgPerson)


async def test_a_busy_server_is_asked_again_after_its_hint_and_endpoints_alternate() -> None:
    endpoints = [("primary", 2020), ("backup", 2021)]
    async with connected(endpoints=endpoints) as (client, peer, server), following(client, peer, CfgPerson):
        server.dialled.clear()
        server.refusing = {("primary", 2020)}
        peer.notice(ErrorCode.FORCED_DISCONNECT, "stops", retry_after_s=0.01)
        peer.drop()
        peer = await server.next_connection()
        await peer.accept_version()
        peer.refuse(await peer.next_request(MessageId.RESTORE_SESSION), ErrorCode.SERVER_NOT_FOUND, retry_after_s=0.01)
        await peer.client_closed()
        peer, frame = await reconnect(server, since=at(100))
        peer.answer(frame, MessageId.HISTORY_LOG_SENT)
        assert server.dialled == [("backup", 2021), ("primary", 2020), ("backup", 2021)]
        await anyio.wait_all_tasks_blocked()
        assert client.state is ClientState.CONNECTED


async def test_a_silent_server_is_pinged_and_given_up_when_it_does_not_answer() -> None:
    endpoints = [("primary", 2020), ("backup", 2021)]
    keep_alive = KeepAlive(timeout_s=0.05)
    async with connected(endpoints=endpoints, keep_alive=keep_alive) as (client, peer, server):
        await peer.next_request(MessageId.SET_KEEP_ALIVE)
        peer.answer(await peer.next_request(MessageId.PING), MessageId.PONG)
        await peer.next_request(MessageId.PING)
        await peer.client_closed()
        await (await server.next_connection()).accept_restored()
        await client.wait_for(ClientState.CONNECTED)
        assert server.dialled == [*endpoints]


async def test_leaving_the_client_ends_its_streams() -> None:
    async with anyio.create_task_group() as tasks:
        async with connected() as (client, peer, _):
            stream = client.subscribe(CfgPerson)
            async with calling(stream.__aenter__):
                peer.answer(await peer.next_request(), MessageId.NOTIFICATION_REGISTERED)
            consumer = Consumer(stream)
            tasks.start_soon(consumer.run)
            await anyio.wait_all_tasks_blocked()
        await anyio.wait_all_tasks_blocked()
        assert isinstance(consumer.error, ConnectionLostError)
        assert "closed" in str(consumer.error)


async def test_read_and_subscribe_misses_nothing_and_reads_again_after_a_gap() -> None:
    async with connected() as (client, peer, _), anyio.create_task_group() as tasks:
        seen: list[Any] = []

        async def use() -> None:
            async with client.read_and_subscribe(CfgPerson, tenant_dbid=1) as (persons, changes):
                seen.append([person.DBID for person in persons])
                seen.append((await anext(changes)).position.uen)

        tasks.start_soon(use)
        for attempt in range(2):
            frame = await peer.next_request(MessageId.READ_OBJECTS)
            peer.answer_read(frame, PERSON, [{"DBID": 7}], at(100 + attempt))
            frame = await peer.next_request(MessageId.REGISTER_NOTIFICATION)
            assert frame.uen == 100 + attempt
            if attempt == 0:
                peer.refuse(frame, ErrorCode.HISTORY_LOG_EXPIRED)
        peer.answer(frame, MessageId.NOTIFICATION_REGISTERED, None, at(105))
        peer.send(created(PERSON, {"DBID": 8}, at(103), history=True))
        peer.mark(at(105))
        await anyio.wait_all_tasks_blocked()
        assert seen == [[7], 103]


async def test_the_position_does_not_go_back_when_a_change_follows_a_mark() -> None:
    async with connected() as (client, peer, _):
        stream = client.subscribe(CfgPerson)
        async with calling(stream.__aenter__):
            peer.answer(await peer.next_request(), MessageId.NOTIFICATION_REGISTERED)
        peer.send(created(PERSON, {"DBID": 7}, at(101)))
        await anext(stream)
        peer.mark(at(110))
        peer.send(created(PERSON, {"DBID": 8}, at(111)))
        await anyio.wait_all_tasks_blocked()
        assert stream.received == at(111)
        assert stream.position == at(110)
