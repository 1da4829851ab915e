"""Requests that a proxy makes for its clients, as the master takes them: whose they are, and who may make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from csproxy.core.codec import decode_map
from csproxy.core.model import CfgAppType, CfgPerson, CfgSkill
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode
from csproxy.transport.history import MasterHistory
from csproxy.transport.wire import administration as wire
from csproxy.transport.wire.history import ReadHistory
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import OnBehalfOf
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.writes import (
    ApplyTransaction,
    CreateObject,
    DeleteObject,
    UpdateObject,
    WriteOutcome,
    WriteOutcomeRead,
)
from tests.transport.test_message_set import (
    APPLICATION,
    PERSON,
    SKILL,
    Listening,
    Site,
    cheap_hash,
    master_site,
    person,
)
from tests.transport.trusting import AllTrusted

pytestmark = pytest.mark.anyio

JANE = OnBehalfOf(application="default", user="jane", person_dbid=101)
DEFAULT = OnBehalfOf(application="default", user="default", person_dbid=100)
REQUESTS = [
    (MessageId.CREATE_OBJECT, CreateObject(type=SKILL, object={"tenantDBID": 1, "name": "english"})),
    (MessageId.UPDATE_OBJECT, UpdateObject(type=PERSON, dbid=102, delta={"firstName": "N"})),
    (MessageId.DELETE_OBJECT, DeleteObject(type=PERSON, dbid=102)),
    (MessageId.APPLY_TRANSACTION, ApplyTransaction(changes=[])),
    (MessageId.WRITE_OUTCOME, WriteOutcome(key="k")),
    (MessageId.UPDATE_PERMISSIONS, wire.UpdatePermissions(type=PERSON, dbid=102)),
    (MessageId.UPDATE_ACCOUNT, wire.Account(dbid=100, account_type=PERSON, account_dbid=100)),
    (MessageId.CHANGE_OPERATIONAL_MODE, wire.OperationalMode(mode=1)),
    (MessageId.CHANGE_PASSWORD, wire.ChangePassword(user="jane", old_password="secret", new_password="other")),
]


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = sqlite_url(tmp_path / "config.db")
    people = [person(101, "jane"), person(102, "new"), person(103, "gone", state=2)]
    secret = cheap_hash("secret")
    create_configuration(
        url,
        [*well_known_objects(proxies=[("proxy1", 2021)]), *people],
        release="1",
        password_hashes={(PERSON, dbid): secret for dbid in (100, 101)},
    )
    return url


@asynccontextmanager
async def proxy_at(url: str, *, trusted: bool = True, **who: Any) -> AsyncIterator[tuple[Site, Listening]]:
    """A master, and a connection to it that has registered as its proxy, or as somebody else."""
    async with master_site(url) as site:
        if trusted:
            site.server.trust = AllTrusted()
        client = Listening()
        client.channel = await site.network.connector("client")("master", 2020)
        client.channel.start(client)
        client.channel.write(client.protocol.connect("listening", "1"))
        await client.next(MessageId.PROTOCOL_VERSION_READ)
        who = {"type": int(CfgAppType.CFGConfigServer), "name": "proxy1", **who}
        frame = await client.ask(MessageId.REGISTER_CLIENT, RegisterClient(**who))
        assert frame.message == MessageId.CLIENT_REGISTERED
        yield site, client


async def ask(client: Listening, message: MessageId, payload: Any, who: OnBehalfOf) -> dict[str, Any]:
    frame = await client.ask(message, msgspec.structs.replace(payload, on_behalf_of=who))
    return {"message": frame.message, **decode_map(frame.payload or b"\x80")}


@pytest.mark.parametrize(("message", "payload"), REQUESTS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize(
    "who",
    [{}, {"type": int(CfgAppType.CFGSCE), "name": "default", "user": "default", "password": "secret"}],
    ids=["untrusted proxy", "GUI application of a trusting master"],
)
async def test_only_a_trusted_proxy_may_ask_for_others(
    url: str, message: MessageId, payload: Any, who: dict[str, Any]
) -> None:
    async with proxy_at(url, trusted=bool(who), **who) as (site, client):
        before = site.server.position
        answer = await ask(client, message, payload, DEFAULT)
        assert (answer["message"], answer["code"]) == (MessageId.ERROR, ErrorCode.ACCESS_DENIED)
        assert "may not make requests for others" in answer["description"]
        assert site.server.position == before


@pytest.mark.parametrize(
    ("message", "payload"), REQUESTS[:3] + REQUESTS[5:8], ids=lambda value: getattr(value, "name", "")
)
async def test_the_permissions_of_the_client_count_not_those_of_the_proxy(
    url: str, message: MessageId, payload: Any
) -> None:
    async with proxy_at(url) as (_, client):
        answer = await ask(client, message, payload, JANE)
        assert (answer["message"], answer["code"]) == (MessageId.ERROR, ErrorCode.NO_PERMISSION)
        answer = await ask(client, message, payload, DEFAULT)
        assert answer["message"] != MessageId.ERROR, answer


async def test_notification_and_history_name_the_client(url: str) -> None:
    async with proxy_at(url) as (site, client), site.client() as watcher, MasterHistory(site.database, "c") as history:
        async with watcher.subscribe(CfgSkill) as changes:
            answer = await ask(client, *REQUESTS[0], DEFAULT)
            change = await anext(changes)
        assert (answer["user"], answer["application"]) == ("default", "default")
        assert (change.user, change.application) == ("default", "default")
        records = [decode_map(bytes(raw)) for raw in (await history.read(ReadHistory())).records]
        assert [(record["user"], record["application"]) for record in records] == [("default", "default")]


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (OnBehalfOf(application="default", user="gone", person_dbid=103), "user 'gone' is disabled"),
        (OnBehalfOf(application="default", user="never", person_dbid=999), "there is no user 'never'"),
        (OnBehalfOf(application="nothing", user="default", person_dbid=100), "there is no Application 'nothing'"),
        (OnBehalfOf(), "there is no Application ''"),
    ],
)
async def test_a_client_that_the_master_would_not_let_log_in_is_refused(url: str, who: OnBehalfOf, words: str) -> None:
    async with proxy_at(url) as (site, client):
        for message, payload in (*REQUESTS[:3], *REQUESTS[5:8]):
            answer = await ask(client, message, payload, who)
            assert (answer["message"], answer["code"]) == (MessageId.ERROR, ErrorCode.ACCESS_DENIED)
            assert words in answer["description"]
        assert site.server.position.uen == 0


async def test_a_client_that_is_deleted_by_a_write_before_its_own_is_refused(url: str) -> None:
    async with proxy_at(url) as (site, client), site.client() as admin:
        await admin.administration.update_permissions("tenant", 1, {(PERSON, 100): 127, (PERSON, 101): 127})
        delete = DeleteObject(type=PERSON, dbid=101, on_behalf_of=DEFAULT)
        create = CreateObject(type=SKILL, object={"tenantDBID": 1, "name": "english"}, on_behalf_of=JANE)
        assert client.channel is not None
        requests = [
            client.protocol.request(message, msgspec.msgpack.encode(payload))
            for message, payload in ((MessageId.DELETE_OBJECT, delete), (MessageId.CREATE_OBJECT, create))
        ]
        client.channel.write(b"".join(data for _, data in requests))
        await client.next(MessageId.OBJECT_DELETED)
        refused = decode_map((await client.next(MessageId.ERROR)).payload)
        assert (refused["code"], "no user 'jane'" in refused["description"]) == (ErrorCode.ACCESS_DENIED, True)


async def test_a_daemon_acts_as_its_account_through_a_proxy_too(url: str) -> None:
    async with proxy_at(url) as (site, client), site.client() as admin:
        daemon = OnBehalfOf(application="proxy1")
        assert (await ask(client, *REQUESTS[0], daemon))["message"] == MessageId.OBJECT_CREATED
        own = site.server.cache.find(APPLICATION, name="proxy1")
        assert own is not None
        await admin.administration.set_account(own, (PERSON, 101))
        assert (await ask(client, *REQUESTS[1], daemon))["code"] == ErrorCode.NO_PERMISSION


async def test_a_key_is_the_clients_whatever_way_its_writes_come(url: str) -> None:
    async with proxy_at(url) as (site, client), site.client() as direct:
        create = CreateObject(type=SKILL, object={"tenantDBID": 1, "name": "english"}, key="k")
        first = await ask(client, MessageId.CREATE_OBJECT, create, DEFAULT)
        again = await direct.create(CfgSkill(tenantDBID=1, name="english"), key="k")
        assert first["object"]["DBID"] == again.DBID
        assert await direct.count(CfgSkill) == 1
        assert await direct.outcome("k") == [again.DBID]
        frame = await client.ask(MessageId.WRITE_OUTCOME, WriteOutcome(key="k", on_behalf_of=DEFAULT))
        assert decode_payload(WriteOutcomeRead, frame.payload).known
        frame = await client.ask(MessageId.WRITE_OUTCOME, WriteOutcome(key="k", on_behalf_of=JANE))
        assert not decode_payload(WriteOutcomeRead, frame.payload).known


async def test_whoever_knows_the_old_password_changes_it_through_a_proxy(url: str) -> None:
    async with proxy_at(url) as (site, client):
        assert (await ask(client, *REQUESTS[-1], JANE))["message"] == MessageId.PASSWORD_CHANGED
        async with site.client(user="jane", password="other") as jane:
            assert (await jane.get(CfgPerson, 101)).userName == "jane"
        assert (await ask(client, *REQUESTS[-1], JANE))["code"] == ErrorCode.CHANGE_PASSWORD_DENIED


async def test_an_answer_names_nobody_that_it_was_asked_for(url: str) -> None:
    async with proxy_at(url) as (_, client):
        for message, payload in REQUESTS[6:8]:
            assert "on_behalf_of" not in await ask(client, message, payload, DEFAULT)
