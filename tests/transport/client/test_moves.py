"""Streams on their way from one server to another, step by step: what comes from where, and when it counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from scripted import ScriptedConnection, ScriptedServer, at, created

from csproxy.core.keepalive import KeepAlive
from csproxy.errors import ConnectionLostError
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_move import Move
from csproxy.transport.client_subscriptions import ChangeStream
from csproxy.transport.connection import Connection
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient
from tests.transport.upstream.upstream_world import until

pytestmark = pytest.mark.anyio

PERSON, SKILL = 3, 13


def thing(uen: int) -> dict[str, int]:
    return {"DBID": uen, "tenantDBID": 1}


class Moving:
    """A client at ``old`` with two streams, and its move to ``new``."""

    def __init__(self, client: ConfigClient, old: ScriptedConnection, new: ScriptedConnection, move: Move) -> None:
        self.client = client
        self.old = old
        self.new = new
        self.move = move
        self.got: dict[int, list[int]] = {PERSON: [], SKILL: []}
        self.streams: dict[int, ChangeStream] = {}

    async def subscribe(self, kind: int, *, buffer_bytes: int = 10_000) -> None:
        stream = self.streams[kind] = self.client.subscribe(kind, since=at(100), buffer_bytes=buffer_bytes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.__aenter__)
            await self.accept(self.old)

    async def accept(self, peer: ScriptedConnection, *, uen: int = 100) -> None:
        peer.answer(
            await peer.next_request(MessageId.REGISTER_NOTIFICATION), MessageId.NOTIFICATION_REGISTERED, None, at(uen)
        )

    async def take(self, kind: int) -> None:
        transaction = await self.streams[kind].next_transaction()
        assert transaction is not None
        self.got[kind].append(transaction.end.uen)


@asynccontextmanager
async def moving() -> AsyncIterator[Moving]:
    servers = ScriptedServer(), ScriptedServer()
    peers: list[ScriptedConnection] = []
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            for server in servers:
                peers.append(await server.next_connection())
                await peers[-1].accept_client()

        tasks.start_soon(serve)
        async with ConfigClient("old", user="u", connector=servers[0].connect, keep_alive=KeepAlive()) as client:
            connection = await Connection.open(await servers[1].connect("new", 2020), "test")
            await connection.register(RegisterClient(type=19, name="default", user="u"))
            yield Moving(client, *peers, Move(client._link.hub, connection))
            connection.close()


async def test_a_stream_takes_nothing_from_a_server_that_has_not_accepted_it_yet() -> None:
    async with moving() as m, anyio.create_task_group() as tasks:
        await m.subscribe(PERSON)
        await m.subscribe(SKILL)
        tasks.start_soon(lambda: m.move.follow_all(timeout_s=5))
        await m.accept(m.new)
        second = await m.new.next_request(MessageId.REGISTER_NOTIFICATION)
        m.new.send(created(PERSON, thing(110), at(110)))
        m.new.mark(at(115))
        m.old.send(created(SKILL, thing(108), at(108)))
        m.old.send(created(PERSON, thing(110), at(110)))
        m.new.answer(second, MessageId.NOTIFICATION_REGISTERED, None, at(115))
        m.new.send(created(SKILL, thing(108), at(108), history=True))
        m.new.mark(at(115))
        await until(lambda: m.streams[SKILL].received == at(115))
        await m.take(PERSON)
        await m.take(SKILL)
        assert m.got == {PERSON: [110], SKILL: [108]}
        assert all(stream.position == at(115) for stream in m.streams.values()), "each once"


async def test_a_stream_that_fell_behind_on_the_way_is_followed_anew() -> None:
    async with moving() as m, anyio.create_task_group() as tasks:
        await m.subscribe(PERSON, buffer_bytes=1)
        await m.subscribe(SKILL)
        done = anyio.Event()

        async def follow() -> None:
            await m.move.follow_all(timeout_s=5)
            m.move.finish()
            done.set()

        tasks.start_soon(follow)
        await m.accept(m.new)
        second = await m.new.next_request(MessageId.REGISTER_NOTIFICATION)
        m.old.send(created(PERSON, thing(101), at(101)))
        m.old.send(created(PERSON, thing(102), at(102)))
        await m.old.next_request(MessageId.UNREGISTER_NOTIFICATION)
        await m.take(PERSON)
        tasks.start_soon(m.take, PERSON)
        await m.accept(m.old, uen=103)
        m.new.send(created(PERSON, thing(103), at(103)))
        assert m.streams[PERSON].received == at(101), "the old server brings what was missed"
        m.old.send(created(PERSON, thing(102), at(102), history=True))
        m.new.answer(second, MessageId.NOTIFICATION_REGISTERED)
        again = await m.new.next_request(MessageId.REGISTER_NOTIFICATION)
        assert (again.epoch, again.uen) == at(102)
        m.new.answer(again, MessageId.NOTIFICATION_REGISTERED, None, at(103))
        m.new.send(created(PERSON, thing(103), at(103), history=True))
        await done.wait()
        await m.take(PERSON)
        assert m.got[PERSON] == [101, 102, 103]


async def test_a_subscription_under_way_is_waited_for() -> None:
    async with moving() as m, anyio.create_task_group() as tasks:
        stream = m.client.subscribe(SKILL, since=at(100))
        tasks.start_soon(stream.__aenter__)
        at_old = await m.old.next_request(MessageId.REGISTER_NOTIFICATION)
        done = anyio.Event()

        async def follow() -> None:
            await m.move.follow_all(timeout_s=5)
            done.set()

        tasks.start_soon(follow)
        await anyio.wait_all_tasks_blocked()
        assert not done.is_set()
        m.old.answer(at_old, MessageId.NOTIFICATION_REGISTERED)
        await m.accept(m.new)
        with anyio.fail_after(5):
            await done.wait()


async def test_what_was_given_up_on_the_way_is_given_up_at_the_new_server() -> None:
    async with moving() as m, anyio.create_task_group() as tasks:
        await m.subscribe(PERSON)
        await m.subscribe(SKILL)
        tasks.start_soon(lambda: m.move.follow_all(timeout_s=5))
        await m.accept(m.new)
        second = await m.new.next_request(MessageId.REGISTER_NOTIFICATION)
        m.streams[PERSON].close()
        await m.old.next_request(MessageId.UNREGISTER_NOTIFICATION)
        m.new.answer(second, MessageId.NOTIFICATION_REGISTERED)
        await until(lambda: len(m.move._followed) == 2)
        m.client._link.connection = m.move._connection
        m.move.finish()
        await m.new.next_request(MessageId.UNREGISTER_NOTIFICATION)


async def test_subscriptions_that_never_settle_put_the_move_off() -> None:
    async with moving() as m:
        stream = m.client.subscribe(SKILL, since=at(100))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.__aenter__)
            await m.old.next_request(MessageId.REGISTER_NOTIFICATION)
            with pytest.raises(ConnectionLostError, match="come and go too fast"):
                await m.move.follow_all(timeout_s=0.001)
            tasks.cancel_scope.cancel()
