"""The upstream connection ends in every phase of a forwarded change: clients hear the truth, nothing happens twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from csproxy.core.changes import Epoch
from csproxy.core.codec import decode_map
from csproxy.core.model import CfgSkill
from csproxy.errors import CsproxyError, ErrorCode, OutcomeUnknownError, RetryableError
from csproxy.transport.connection import server_error
from csproxy.transport.forwarding import MAX_UNDER_WAY, ForwardingLimits
from csproxy.transport.refusals import error_payload
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.writes import CreateObject
from tests.transport.forwarding import test_forwarding as forwarding
from tests.transport.forwarding.test_forwarding import skill
from tests.transport.forwarding.writable_site import Proxy, until, writable_proxy
from tests.transport.test_message_set import SKILL, SYSTEM, Listening, Site, master_site

pytestmark = pytest.mark.anyio
url = forwarding.url

CREATED = MessageId.OBJECT_CREATED


@asynccontextmanager
async def broken_site(url: str, **options: Any) -> AsyncIterator[tuple[Site, Proxy]]:
    async with master_site(url) as site, writable_proxy(site, reach_timeout_s=0.2, **options) as proxy:
        yield site, proxy


async def caught(work: Callable[[], Awaitable[object]], into: list[Exception]) -> None:
    try:
        await work()
    except CsproxyError as e:
        into.append(e)


def create(name: str = "english", key: str = "") -> CreateObject:
    return CreateObject(type=SKILL, object={"tenantDBID": 1, "name": name}, key=key)


def is_answer(frame: Frame) -> bool:
    return frame.message == CREATED and frame.request != 0


def is_notification(frame: Frame) -> bool:
    return frame.message == CREATED and frame.request == 0


async def names(client: Listening) -> list[str]:
    """What a read of all skills shows, without a least position in its header. Raises its refusal."""
    frame = await client.ask(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
    if frame.message == MessageId.ERROR:
        raise server_error(frame)
    parts = [each for each in client.frames if each.request == frame.request and each is not frame]
    return [obj["name"] for part in parts for obj in decode_map(part.payload)["objects"]]


async def test_a_change_that_the_master_never_got_has_an_unknown_outcome_and_can_be_repeated(url: str) -> None:
    async with broken_site(url) as (_, proxy), proxy.client() as client:
        proxy.valve.swallows = True
        errors: list[Exception] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caught, lambda: client.create(skill(), key="k"), errors)
            await until(lambda: proxy.writer.statistics().under_way == 1)
            await anyio.wait_all_tasks_blocked()
            proxy.cut()
        (error,) = errors
        assert isinstance(error, OutcomeUnknownError)
        assert error.code == ErrorCode.CONN_READ_ERROR
        assert "unknown" in str(error)
        assert "the same key (k)" in str(error)
        await proxy.until_live()
        assert await client.outcome("k") is None
        await client.create(skill(), key="k")
        assert await client.count(CfgSkill) == 1
        assert proxy.writer.statistics().unknown == 1


async def test_a_change_that_was_committed_but_not_answered_has_an_unknown_outcome_that_can_be_asked(url: str) -> None:
    async with broken_site(url) as (site, proxy), proxy.client() as client:
        proxy.valve.holds = lambda frame: frame.message == CREATED
        before, errors = site.server.position.uen, list[Exception]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caught, lambda: client.create(skill(), key="k"), errors)
            await until(lambda: site.server.position.uen > before)
            proxy.cut()
        assert isinstance(errors[0], OutcomeUnknownError)
        await proxy.until_live()
        (found,) = await client.read(CfgSkill)
        assert await client.outcome("k") == [found.DBID]
        assert (await client.create(skill(), key="k")).DBID == found.DBID
        assert site.server.position.uen == before + 1


async def test_a_change_that_was_answered_before_the_stream_broke_is_a_success_and_nothing_older_is_shown(
    url: str,
) -> None:
    async with broken_site(url) as (site, proxy):
        client, other = Listening(), Listening()
        await client.register(site, "proxy1")
        await other.register(site, "proxy1")
        proxy.valve.holds = is_notification
        client.send(MessageId.CREATE_OBJECT, create())
        await until(lambda: proxy.valve.held != [])
        proxy.cut(for_good=True)
        answer = await client.next(CREATED)
        assert answer.uen == site.server.position.uen > proxy.server.position.uen
        assert await names(other) == []
        for _ in range(2):
            with pytest.raises(RetryableError, match=f"has not reached UEN {answer.uen}"):
                await names(client)
        proxy.heal()
        await proxy.until_live()
        assert await names(client) == ["english"]


async def test_of_several_changes_the_last_one_is_waited_for(url: str) -> None:
    async with broken_site(url) as (site, proxy):
        client = Listening()
        await client.register(site, "proxy1")
        proxy.valve.holds = is_notification
        for n in range(8):
            client.send(MessageId.CREATE_OBJECT, create(f"s{n}"))
        await until(lambda: len(proxy.valve.held) == 8)
        proxy.cut(for_good=True)
        await until(lambda: len(client.answers()) == 8)
        (session,) = proxy.server.sessions
        assert session.written == site.server.position


async def test_changes_of_permissions_are_a_success_too_when_the_stream_breaks_after_the_answer(url: str) -> None:
    async with broken_site(url) as (site, proxy), proxy.client() as client, site.client() as direct:
        proxy.valve.holds = is_notification
        await direct.create(skill())
        errors: list[Exception] = []
        async with anyio.create_task_group() as tasks:
            change = client.administration.update_permissions
            tasks.start_soon(caught, lambda: change(CfgSkill, 101, {SYSTEM: 127}), errors)
            await until(lambda: proxy.writer.statistics().forwarded == 1)
            proxy.cut(for_good=True)
        assert errors == []
        raw = Listening()
        await raw.register(site, "proxy1")
        assert await names(raw) == []
        (session,) = [each for each in proxy.server.sessions if each.written is not None]
        assert session.written == site.server.position


async def test_a_session_whose_change_belongs_to_a_history_that_ended_is_told_so_once(url: str) -> None:
    async with broken_site(url) as (site, proxy):
        client = Listening()
        await client.register(site, "proxy1")
        proxy.valve.holds = is_notification
        client.send(MessageId.CREATE_OBJECT, create())
        await until(lambda: proxy.valve.held != [])
        proxy.cut(for_good=True)
        answer = await client.next(CREATED)
        proxy.server.set_epochs([*proxy.server.epochs, Epoch(answer.epoch + 99, answer.uen)])
        frame = await client.ask(MessageId.READ_OBJECTS, ReadObjects(type=SKILL))
        assert decode_map(frame.payload)["code"] == ErrorCode.HISTORY_LOG_EXPIRED
        assert await names(client) == []


async def test_what_waited_for_its_turn_was_not_sent_and_says_so(url: str) -> None:
    async with broken_site(url) as (site, proxy):
        clients = [Listening() for _ in range(MAX_UNDER_WAY + 5)]
        for client in clients:
            await client.register(site, "proxy1")
        proxy.valve.swallows = True
        for n, client in enumerate(clients):
            client.send(MessageId.CREATE_OBJECT, create(f"s{n}"))
        await until(lambda: proxy.writer.statistics().under_way == MAX_UNDER_WAY)
        await anyio.wait_all_tasks_blocked()
        proxy.cut(for_good=True)
        errors = [decode_map((await client.next(MessageId.ERROR)).payload) for client in clients]
        unknown = [error for error in errors if error.get("outcome_unknown")]
        waited = [error for error in errors if error.get("retry_after_ms")]
        assert (len(unknown), len(waited)) == (MAX_UNDER_WAY, 5)
        assert all("nothing was sent to the master" in error["description"] for error in waited)
        assert site.server.position.uen == 0


async def test_a_master_that_does_not_answer_leaves_the_outcome_unknown_and_is_not_sent_ever_more(url: str) -> None:
    limits = ForwardingLimits(answer_s=0.2)
    async with broken_site(url, limits=limits) as (site, proxy):
        clients = [Listening() for _ in range(MAX_UNDER_WAY)]
        for client in clients:
            await client.register(site, "proxy1")
        proxy.valve.holds = is_answer
        for n, client in enumerate(clients):
            client.send(MessageId.CREATE_OBJECT, create(f"s{n}"))
        for client in clients:
            error = decode_map((await client.next(MessageId.ERROR)).payload)
            assert (error["code"], error["outcome_unknown"]) == (ErrorCode.DB_RESPONSE_TIMED_OUT, True)
        await until(lambda: site.server.position.uen == MAX_UNDER_WAY)
        refusal = decode_map((await clients[0].ask(MessageId.CREATE_OBJECT, create("more"))).payload)
        assert "owes this proxy the answers" in refusal["description"]
        assert refusal["retry_after_ms"] > 0
        proxy.valve.open()
        assert (await clients[1].ask(MessageId.CREATE_OBJECT, create("more"))).message == CREATED
        assert site.server.position.uen == MAX_UNDER_WAY + 1


async def test_a_question_for_an_outcome_that_is_lost_can_be_asked_again(url: str) -> None:
    async with broken_site(url) as (_, proxy), proxy.client() as client:
        created = await client.create(skill(), key="k")
        proxy.valve.holds = lambda frame: frame.message == MessageId.WRITE_OUTCOME_READ
        found: list[Any] = []

        async def ask() -> None:
            found.append(await client.outcome("k"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(lambda: proxy.valve.held != [])
            proxy.cut()
        assert found == [[created.DBID]]


async def test_a_stream_that_stalls_while_the_connection_lives_does_not_hold_the_answer_for_ever(url: str) -> None:
    limits = ForwardingLimits(shown_s=0.1)
    async with broken_site(url, limits=limits) as (site, proxy):
        client = Listening()
        await client.register(site, "proxy1")
        proxy.valve.holds = is_notification
        assert (await client.ask(MessageId.CREATE_OBJECT, create())).message == CREATED
        with pytest.raises(RetryableError):
            await names(client)
        proxy.valve.open()
        assert await names(client) == ["english"]


async def test_a_change_of_a_client_that_left_is_carried_out_once(url: str) -> None:
    async with broken_site(url) as (site, proxy):
        client = Listening()
        await client.register(site, "proxy1")
        proxy.valve.holds = is_answer
        for n in range(3):
            client.send(MessageId.CREATE_OBJECT, create(f"s{n}"))
        await until(lambda: proxy.valve.held != [])
        assert client.channel is not None
        await until(lambda: proxy.writer.statistics().under_way == 3)
        client.channel.close()
        await until(lambda: proxy.server.statistics().clients == 0)
        proxy.valve.open()
        await until(lambda: proxy.writer.statistics().under_way == 0)
        assert site.server.position.uen == 3


def test_an_unknown_outcome_keeps_its_name_on_the_wire() -> None:
    sent = error_payload(OutcomeUnknownError(ErrorCode.DB_ERROR, "who knows", object_type=3))
    assert (sent.outcome_unknown, sent.code, sent.object_type) == (True, ErrorCode.DB_ERROR, 3)
    assert not error_payload(RetryableError(ErrorCode.DB_ERROR, "later", retry_after_s=1.0)).outcome_unknown
