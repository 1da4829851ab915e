"""A writable proxy: every change goes to the master under the client's name, and is shown here when it is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from pathlib import Path

import anyio
import pytest

from csproxy.core.codec import decode_map
from csproxy.core.model import CfgPerson, CfgSkill
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.sessions import Author
from csproxy.core.wellknown import well_known_objects
from csproxy.core.write_budgets import WriteBudgets
from csproxy.errors import ErrorCode, RetryableError, ServerError
from csproxy.transport.client_writes import CreateWrite, UpdateWrite
from csproxy.transport.forwarding import MAX_UNDER_WAY
from csproxy.transport.history import MasterHistory
from csproxy.transport.requests import MAX_PIPELINED
from csproxy.transport.server_connection import MAX_WRITES
from csproxy.transport.trust import NoTrust
from csproxy.transport.wire import administration as wire
from csproxy.transport.wire.history import ReadHistory
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import OnBehalfOf
from csproxy.transport.wire.writes import CreateObject, UpdateObject, WriteOutcome
from tests.transport.forwarding.writable_site import Proxy, until, writable_proxy
from tests.transport.test_message_set import (
    ACCESS_GROUP,
    PERSON,
    SKILL,
    SYSTEM,
    Listening,
    Site,
    cheap_hash,
    master_site,
    person,
    refused,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = sqlite_url(tmp_path / "config.db")
    people = [person(101, "jane"), person(102, "new", changePasswordOnNextLogin=2)]
    secret = cheap_hash("secret")
    create_configuration(
        url,
        [*well_known_objects(proxies=[("proxy1", 2021), ("proxy2", 2022)]), *people],
        release="1",
        password_hashes={(PERSON, dbid): secret for dbid in (100, 101, 102)},
    )
    return url


@asynccontextmanager
async def site_with_proxy(url: str, **options: WriteBudgets) -> AsyncIterator[tuple[Site, Proxy]]:
    async with master_site(url) as site, writable_proxy(site, **options) as proxy:
        yield site, proxy


def skill(name: str = "english") -> CfgSkill:
    return CfgSkill(tenantDBID=1, name=name)


# what is forwarded


async def test_objects_are_created_changed_and_deleted_through_a_proxy(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy), proxy.client() as client, site.client() as direct:
        created = await client.create(skill())
        assert (await direct.get(CfgSkill, created.DBID)).name == "english"
        changed = deepcopy(created)
        changed.name = "french"
        at = await client.update(created, changed)
        assert at == site.server.position == proxy.server.position
        assert (await direct.get(CfgSkill, created.DBID)).name == "french"
        await client.delete(changed)
        assert await direct.count(CfgSkill) == 0
        dbids = await client.apply(
            [
                CreateWrite(CfgSkill, {"DBID": -1, "tenantDBID": 1, "name": "x"}),
                UpdateWrite(CfgSkill, -1, {"name": "y"}),
            ]
        )
        assert (await direct.get(CfgSkill, dbids[0])).name == "y"
        assert proxy.writer.statistics().forwarded == 4


async def test_a_change_that_is_answered_is_shown(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy):
        client = Listening()
        await client.register(site, "proxy1")
        for n in range(30):
            create = CreateObject(type=SKILL, object={"tenantDBID": 1, "name": f"s{n}"})
            answer = await client.ask(MessageId.CREATE_OBJECT, create)
            dbid = decode_map(answer.payload)["object"]["DBID"]
            assert proxy.server.cache.get(SKILL, dbid) is not None
            assert proxy.server.position.uen >= answer.uen


async def test_everybody_is_notified_and_the_client_is_named_everywhere(url: str) -> None:
    async with AsyncExitStack() as stack:
        site, proxy = await stack.enter_async_context(site_with_proxy(url))
        other = await stack.enter_async_context(writable_proxy(site, "proxy2"))
        history = await stack.enter_async_context(MasterHistory(site.database, "confserv"))
        writer = await stack.enter_async_context(proxy.client())
        streams = [
            await stack.enter_async_context((await stack.enter_async_context(client)).subscribe(CfgSkill))
            for client in (site.client(), proxy.client(), other.client())
        ]
        created = await writer.create(skill())
        for stream in streams:
            change = await anext(stream)
            assert (change.dbid, change.user, change.application) == (created.DBID, "default", "default")
        (record,) = [decode_map(bytes(raw)) for raw in (await history.read(ReadHistory())).records]
        assert (record["user"], record["application"]) == ("default", "default")


async def test_a_client_may_do_through_a_proxy_what_it_may_do_at_the_master(url: str) -> None:
    async with site_with_proxy(url) as (_, proxy), proxy.client() as default, proxy.client(user="jane") as jane:
        async with refused(ErrorCode.NO_PERMISSION):
            await jane.create(skill())
        await default.administration.update_permissions("folder", SKILL, {(PERSON, 101): 127, SYSTEM: 127})
        created = await jane.create(skill())
        assert (await jane.get(CfgSkill, created.DBID)).name == "english"
        async with refused(ErrorCode.NO_PERMISSION):
            await jane.administration.set_operational_mode(2)


async def test_permissions_accounts_and_the_mode_are_changed_through_a_proxy(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy), proxy.client() as client, site.client() as direct:
        await client.administration.update_permissions(CfgPerson, 101, {(PERSON, 100): 127, SYSTEM: 127})
        assert (await direct.administration.permissions(CfgPerson, 101)).source == (PERSON, 101)
        await client.administration.set_account(100, (PERSON, 100))
        assert await direct.administration.account(100) == (PERSON, 100)
        await client.administration.set_operational_mode(2)
        assert await direct.administration.operational_mode() == 2
        async with refused(ErrorCode.READ_ONLY_OPERATIONAL_MODE_ACTIVATED, "read-only mode"):
            await client.create(skill())
        await client.administration.set_operational_mode(1)
        await client.create(skill())


async def test_passwords_are_changed_through_a_proxy(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy), proxy.client() as client:
        await client.administration.change_password("jane", "secret", "other")
        async with refused(ErrorCode.CHANGE_PASSWORD_DENIED):
            await client.administration.change_password("jane", "secret", "third")
        async with proxy.client(user="jane", password="other") as jane:
            assert (await jane.get(CfgPerson, 101)).userName == "jane"
        async with refused(ErrorCode.LOGIN_INCORRECT), site.client(user="jane"):
            raise AssertionError("registered")


async def test_a_user_who_must_change_the_password_does_so_while_registering_at_a_proxy(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy):
        async with refused(ErrorCode.USER_MUST_CHANGE_PASSWORD), proxy.client(user="new"):
            raise AssertionError("registered")
        async with proxy.client(user="new", new_password="chosen") as new:
            assert (await new.get(CfgPerson, 102)).userName == "new"
        async with site.client(user="new", password="chosen"):
            pass


# what is refused


async def test_a_proxy_that_is_not_writable_refuses_every_change_with_its_reason_at_once(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy), proxy.client() as client:
        created = await client.create(skill(), key="k")
        proxy.refusal = "this proxy takes no changes"
        for change in (
            client.create(skill("x")),
            client.delete(created),
            client.apply([CreateWrite(CfgSkill, {"tenantDBID": 1, "name": "y"})]),
            client.administration.update_permissions(CfgPerson, 101, {}),
            client.administration.set_account(100, (PERSON, 100)),
            client.administration.set_operational_mode(2),
        ):
            async with refused(ErrorCode.ACCESS_DENIED, "this proxy takes no changes"):
                await change
        async with refused(ErrorCode.CHANGE_PASSWORD_DENIED, "this proxy takes no changes"):
            await client.administration.change_password("jane", "secret", "other")
        assert await client.outcome("k") == [created.DBID]
        assert site.server.position == proxy.server.position
        proxy.refusal = None
        await client.delete(created)


async def test_nothing_is_queued_for_a_master_that_is_away(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy), proxy.client() as client:
        proxy.cut(for_good=True)
        await proxy.until_live(is_live=False)
        before = site.server.position
        for change in (
            client.create(skill()),
            client.apply([CreateWrite(CfgSkill, {"tenantDBID": 1, "name": "y"})]),
            client.administration.set_operational_mode(2),
        ):
            with pytest.raises(RetryableError, match="the master is away") as caught:
                await change
            assert caught.value.retry_after_s > 0
        proxy.heal()
        await proxy.until_live()
        await client.create(skill("afterwards"))
        assert (await client.read(CfgSkill))[0].name == "afterwards"
        assert site.server.position.uen == before.uen + 1


async def test_a_proxy_that_its_master_does_not_trust_cannot_write(url: str) -> None:
    async with master_site(url) as site, writable_proxy(site) as proxy:
        site.server.trust = NoTrust()
        proxy.cut()
        await proxy.until_live(is_live=False)
        await proxy.until_live()
        async with proxy.client() as client:
            async with refused(ErrorCode.ACCESS_DENIED, "'proxy1' may not make requests for others"):
                await client.create(skill())
            assert await client.count(CfgSkill) == 0


async def test_a_client_cannot_pretend_to_be_another_through_a_proxy(url: str) -> None:
    async with site_with_proxy(url) as (site, _):
        client = Listening()
        await client.register(site, "proxy1")
        other = OnBehalfOf(application="default", user="jane", person_dbid=101)
        for message, payload in (
            (MessageId.CREATE_OBJECT, CreateObject(type=SKILL, object={}, on_behalf_of=other)),
            (MessageId.WRITE_OUTCOME, WriteOutcome(key="k", on_behalf_of=other)),
            (MessageId.CHANGE_OPERATIONAL_MODE, wire.OperationalMode(mode=2, on_behalf_of=other)),
            (MessageId.CHANGE_PASSWORD, wire.ChangePassword(user="jane", on_behalf_of=other)),
        ):
            answer = decode_map((await client.ask(message, payload)).payload)
            assert answer["code"] == ErrorCode.ACCESS_DENIED
            assert "may not make requests for others" in answer["description"]


async def test_nobody_asks_for_others_through_a_proxy_not_even_another_proxy_that_it_trusts(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy):
        author = Author("default", "default", 100, via="proxy2")
        for changes in (0, 1):
            async with refused(ErrorCode.ACCESS_DENIED, "'proxy2' may not make requests for others here"):
                await proxy.writer.forward(MessageId.WRITE_OUTCOME, WriteOutcome(key="k"), author, changes=changes)
        assert site.server.position.uen == 0


async def test_a_client_that_was_deleted_at_the_master_is_refused(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy), site.client() as direct, proxy.client(user="jane") as jane:
        await direct.administration.update_permissions(
            "tenant", 1, {(PERSON, 101): 127, (PERSON, 100): 127, SYSTEM: 127}
        )
        await jane.create(skill())
        await direct.delete(CfgPerson, 101)
        async with refused(ErrorCode.ACCESS_DENIED, "there is no user 'jane'"):
            await jane.create(skill("second"))


async def test_changes_in_bulk_are_refused_by_the_option_that_bounds_them(url: str) -> None:
    budgets = WriteBudgets(1.0)
    async with site_with_proxy(url, budgets=budgets) as (_, proxy), proxy.client() as client:
        ten = [CreateWrite(CfgSkill, {"tenantDBID": 1, "name": f"s{n}"}) for n in range(10)]
        async with refused(ErrorCode.ACCESS_DENIED, "11 changes in one transaction are too many"):
            await client.apply([*ten, CreateWrite(CfgSkill, {"tenantDBID": 1, "name": "x"})])
        await client.apply(ten)
        with pytest.raises(RetryableError, match=r"at most 1 changes a second .*proxy-write-rate") as caught:
            await client.create(skill())
        assert caught.value.retry_after_s > 0.5
        async with proxy.client(user="jane", application="default") as jane, refused(ErrorCode.NO_PERMISSION):
            await jane.create(skill())  # has a budget of its own
        budgets.rate = 0.0
        await client.create(skill())


# many


async def test_the_changes_of_a_client_are_carried_out_in_its_order(url: str) -> None:
    count = MAX_WRITES + 50
    async with site_with_proxy(url) as (site, proxy), proxy.client() as other:
        created = await other.create(skill("s"))
        client = Listening()
        await client.register(site, "proxy1")
        for n in range(count):
            update = UpdateObject(type=SKILL, dbid=created.DBID, delta={"name": f"s{n}"})
            client.send(MessageId.UPDATE_OBJECT, update)
        await until(lambda: len(client.answers()) == count)
        uens = [frame.uen for frame in sorted(client.answers(), key=lambda frame: frame.request)]
        assert uens == sorted(set(uens))
        assert (await other.get(CfgSkill, created.DBID)).name == f"s{count - 1}"


async def test_several_changes_of_one_client_are_under_way_at_a_time(url: str) -> None:
    async with site_with_proxy(url) as (site, proxy):
        client = Listening()
        await client.register(site, "proxy1")
        proxy.valve.holds = lambda frame: frame.message == MessageId.OBJECT_CREATED and frame.request != 0
        for n in range(MAX_PIPELINED + 5):
            client.send(MessageId.CREATE_OBJECT, CreateObject(type=SKILL, object={"tenantDBID": 1, "name": f"s{n}"}))
        await until(lambda: len(proxy.valve.held) == MAX_PIPELINED)
        assert proxy.writer.statistics().under_way == MAX_PIPELINED
        assert client.answers() == []
        proxy.valve.open()
        await until(lambda: len(client.answers()) == MAX_PIPELINED + 5)


async def test_fifty_clients_write_at_once_through_two_proxies(url: str) -> None:
    each = 8
    async with AsyncExitStack() as stack:
        site, one = await stack.enter_async_context(site_with_proxy(url))
        two = await stack.enter_async_context(writable_proxy(site, "proxy2"))
        clients = [await stack.enter_async_context((one, two)[n % 2].client()) for n in range(50)]

        async def write(n: int) -> None:
            for k in range(each):
                created = await clients[n].create(skill(f"{n}-{k}"))
                assert (await clients[n].get(CfgSkill, created.DBID)).name == f"{n}-{k}"

        async with anyio.create_task_group() as tasks:
            for n in range(50):
                tasks.start_soon(write, n)
        names = Counter(each.name for each in await clients[0].read(CfgSkill))
        assert names == Counter(f"{n}-{k}" for n in range(50) for k in range(each))
        await until(lambda: one.server.position == two.server.position == site.server.position)
        for number in (SKILL, PERSON, ACCESS_GROUP):
            digests = {server.cache.digest(number) for server in (site.server, one.server, two.server)}
            assert len(digests) == 1


async def test_no_more_changes_are_under_way_than_the_master_takes_and_the_rest_waits(url: str) -> None:
    async with AsyncExitStack() as stack:
        site, proxy = await stack.enter_async_context(site_with_proxy(url))
        clients = []
        for _ in range(MAX_UNDER_WAY + 20):
            client = Listening()
            await client.register(site, "proxy1")
            clients.append(client)
        proxy.valve.holds = lambda frame: frame.message == MessageId.OBJECT_CREATED
        for n, client in enumerate(clients):
            create = CreateObject(type=SKILL, object={"tenantDBID": 1, "name": f"s{n}"})
            client.send(MessageId.CREATE_OBJECT, create)
        await until(lambda: len({frame.request for frame in proxy.valve.held}) == MAX_UNDER_WAY + 1)  # and 0
        assert proxy.writer.statistics().under_way == MAX_UNDER_WAY
        proxy.valve.open()
        for client in clients:
            await client.next(MessageId.OBJECT_CREATED)
        assert proxy.writer.statistics().forwarded == len(clients)


# keys


async def test_a_key_carries_a_write_out_once_through_whatever_server(url: str) -> None:
    async with AsyncExitStack() as stack:
        site, one = await stack.enter_async_context(site_with_proxy(url))
        two = await stack.enter_async_context(writable_proxy(site, "proxy2"))
        clients = [await stack.enter_async_context(each.client()) for each in (one, two)]
        clients.append(await stack.enter_async_context(site.client()))
        dbids = {(await client.create(skill(), key="k")).DBID for client in clients}
        assert len(dbids) == 1
        for client in clients:
            assert await client.outcome("k") == list(dbids)
            assert await client.outcome("another") is None
        async with one.client(user="jane") as jane:
            assert await jane.outcome("k") is None
        with pytest.raises(ServerError, match="was used before"):
            await clients[1].delete(CfgPerson, 101, key="k")
