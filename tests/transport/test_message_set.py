"""The requests beside objects and changes, at a master on a real database and at its proxy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from csproxy.auth.internal import InternalAuthenticator
from csproxy.auth.passwords import Cost, hash_password
from csproxy.auth.upstream import UpstreamAuthenticator
from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.collation import collation
from csproxy.core.failover import Endpoint
from csproxy.core.lease import Holder
from csproxy.core.model import SCHEMA, CfgAppType, CfgPerson, CfgSkill
from csproxy.core.permissions import DEFAULT_ACL
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.persistence.store import Store
from csproxy.core.security_records import AclEntry
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode, RetryableError, ServerError
from csproxy.testing.memory import MemoryNetwork
from csproxy.transport.administration import ReplicaAdministration, UpstreamAdministration
from csproxy.transport.channel import Channel, Receiver
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_writes import CreateWrite
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.log_ins import LogIns
from csproxy.transport.master_administration import MasterAdministration
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire import administration as wire
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ReadObjects, SnapshotHandle
from csproxy.transport.wire.registration import RegisterClient, RestoreSession

pytestmark = pytest.mark.anyio

PERSON, TENANT, SKILL, ACCESS_GROUP, FOLDER, APPLICATION = 3, 7, 13, 21, 22, 9
SYSTEM = (ACCESS_GROUP, 98)
cheap_hash = partial(hash_password, cost=Cost(ln=4))
DEFAULT = {"user": "default", "password": "secret"}


def person(dbid: int, name: str, **more: Any) -> tuple[int, dict[str, Any], int]:
    obj = {"DBID": dbid, "tenantDBID": 1, "userName": name, "firstName": name.title(), "employeeID": name}
    return PERSON, {**obj, "isAgent": 1, "state": 1, **more}, PERSON


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = sqlite_url(tmp_path / "config.db")
    people = [person(101, "jane"), person(102, "new", changePasswordOnNextLogin=2)]
    secret = cheap_hash("secret")
    create_configuration(
        url,
        [*well_known_objects(proxies=[("proxy1", 2021)]), *people],
        release="1",
        password_hashes={(PERSON, dbid): secret for dbid in (100, 101, 102)},
    )
    return url


class Site:
    """A master at ``master:2020`` and clients of it."""

    def __init__(self, network: MemoryNetwork, server: ConfigurationServer, database: DatabaseMaster) -> None:
        self.network = network
        self.server = server
        self.database = database

    def client(self, host: str = "master", **options: Any) -> ConfigClient:
        options = {**DEFAULT, "connector": self.network.connector("client"), **options}
        return ConfigClient(host, 2020, **options)


def make_server(role: str, **options: Any) -> ConfigurationServer:
    return ConfigurationServer(
        role=role,
        name="confserv" if role == "master" else "proxy1",
        authenticator=_Nobody(),
        writer=ReadOnlyWriter("this proxy is read-only"),
        random=lambda: 0.5,
        random_bytes=lambda n: next(_numbers).to_bytes(n, "big"),
        settings=ServerSettings(**options),
    )


class _Nobody:
    async def authenticate(self, user: str, password: str) -> Any:
        raise AssertionError(f"log-in of {user!r}")


_numbers = iter(range(1, 1 << 62))


@asynccontextmanager
async def master_site(url: str, **options: Any) -> AsyncIterator[Site]:
    async with (
        MemoryNetwork() as network,
        make_server("master", **options) as server,
        DatabaseMaster(
            url, server, holder=Holder("test"), random_epoch=lambda: next(_numbers) + 5, hash_password=cheap_hash
        ) as database,
    ):
        server.administration = await MasterAdministration.open(database, lambda: server.cache)
        server.writer = database
        server.authenticator = InternalAuthenticator(lambda: server.cache, LogIns(database.book, lambda: server.cache))
        network.listen("master", 2020, server.connect)
        yield Site(network, server, database)


@asynccontextmanager
async def proxy_of(site: Site) -> AsyncIterator[UpstreamSource]:
    """A proxy at ``proxy:2020``."""
    async with make_server("proxy") as server:
        endpoint = [Endpoint("master", 2020)]
        async with UpstreamSource(server, site.network.connector("proxy"), endpoint, "proxy1") as source:
            await source.wait_live()
            server.administration = ReplicaAdministration(lambda: server.cache, UpstreamAdministration(source))
            server.authenticator = UpstreamAuthenticator(source, server)
            site.network.listen("proxy", 2020, server.connect)
            yield source


class Listening(Receiver):
    """A client that keeps every frame, unasked ones included."""

    def __init__(self) -> None:
        self.protocol = ClientProtocol()
        self.frames: list[Frame] = []
        self.channel: Channel | None = None
        self._arrived = anyio.Event()

    def receive(self, data: bytes) -> None:
        self.frames += self.protocol.receive_data(data)
        self._arrived.set()

    def writable(self) -> None:
        pass

    def closed(self, error: Exception | None) -> None:
        self._arrived.set()

    async def register(self, site: Site, host: str = "master", *, session: str = "") -> Frame:
        self.channel = await site.network.connector("client")(host, 2020)
        self.channel.start(self)
        self.channel.write(self.protocol.connect("listening", "1"))
        await self.next(MessageId.PROTOCOL_VERSION_READ)
        who: dict[str, Any] = {"type": int(CfgAppType.CFGSCE), "name": "default", **DEFAULT}
        if session:
            return await self.ask(MessageId.RESTORE_SESSION, RestoreSession(**who, session=session))
        return await self.ask(MessageId.REGISTER_CLIENT, RegisterClient(**who))

    def send(self, message: MessageId, payload: Any = b"") -> int:
        """Send a request; returns its id."""
        assert self.channel is not None
        number, data = self.protocol.request(message, payload)
        self.channel.write(data)
        return number

    def answers(self) -> list[Frame]:
        """The last frames of all answers since the registration, as they came."""
        return [frame for frame in self.frames if frame.request > 2 and frame.flags & 1]

    async def ask(self, message: MessageId, payload: Any = b"") -> Frame:
        """The last frame of the answer."""
        number = self.send(message, payload)
        with anyio.fail_after(5):
            while True:
                for frame in self.frames:
                    if frame.request == number and frame.flags & 1:
                        return frame
                await self._wait()

    async def next(self, message: MessageId) -> Frame:
        """The next frame of this number, taken out."""
        with anyio.fail_after(5):
            while True:
                for frame in self.frames:
                    if frame.message == message:
                        self.frames.remove(frame)
                        return frame
                await self._wait()

    async def _wait(self) -> None:
        await self._arrived.wait()
        self._arrived = anyio.Event()


@asynccontextmanager
async def refused(code: ErrorCode, words: str = "") -> AsyncIterator[None]:
    with pytest.raises(ServerError) as caught:
        yield
    assert caught.value.code == code, caught.value
    assert words in str(caught.value)


# permissions


async def test_permissions_are_inherited_set_taken_away_and_kept_over_a_restart(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        admin = client.administration
        assert await admin.permissions(CfgPerson, 101) == (DEFAULT_ACL, (0, 0))
        assert await admin.update_permissions(CfgPerson, 101, {(PERSON, 101): 127}) == 0
        assert await admin.permissions(CfgPerson, 101) == ((AclEntry(PERSON, 101, 127),), (PERSON, 101))
        assert await admin.update_permissions("folder", PERSON, {(ACCESS_GROUP, 97): 1, (PERSON, 101): 2 + 128}) == 0
        assert await admin.permissions(CfgPerson, 102) == ((AclEntry(ACCESS_GROUP, 97, 1),), (FOLDER, PERSON))
    async with master_site(url) as site, site.client() as client:
        admin = client.administration
        assert (await admin.permissions(CfgPerson, 101)).source == (PERSON, 101)
        assert await admin.effective_mask(CfgPerson, 101, account=(PERSON, 101)) == 127
        assert await admin.update_permissions("tenant", 1, {(ACCESS_GROUP, 94): 9}, recursive=True) == 2
        assert await admin.permissions(CfgPerson, 101) == ((AclEntry(ACCESS_GROUP, 94, 9),), (TENANT, 1))
        await admin.update_permissions("tenant", 1, None)
        assert await admin.permissions(CfgPerson, 101) == (DEFAULT_ACL, (0, 0))


async def test_the_effective_mask_is_that_of_the_account_asked_for(url: str) -> None:
    async with master_site(url) as site, site.client() as client, site.client(user="jane") as jane:
        admin = client.administration
        assert await admin.effective_mask(CfgPerson, 101) == 127
        assert await jane.administration.effective_mask(CfgPerson, 101) == 1 + 8
        assert await jane.administration.effective_mask(CfgPerson, 101, account=(PERSON, 100)) == 127
        assert await admin.effective_mask(CfgPerson, 101, account=(APPLICATION, 101)) == 127
        await admin.set_account(101, (PERSON, 101))
        assert await admin.effective_mask(CfgPerson, 101, account=(APPLICATION, 101)) == 1 + 8


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (wire.UpdatePermissions(type=PERSON, dbid=999), ErrorCode.OBJECT_NOT_FOUND),
        (wire.UpdatePermissions(type=99, dbid=1), ErrorCode.UNSUPPORTED_OBJECT),
        (
            wire.UpdatePermissions(type=PERSON, dbid=101, entries=[wire.AccessEntry(type=SKILL, dbid=1)]),
            ErrorCode.INCORRECT_REFERENCES,
        ),
        (
            wire.UpdatePermissions(
                type=PERSON, dbid=101, inherit=True, entries=[wire.AccessEntry(type=PERSON, dbid=101)]
            ),
            ErrorCode.WRONG_API_PARAMETERS,
        ),
        (
            wire.UpdatePermissions(type=PERSON, dbid=101, entries=[wire.AccessEntry(type=PERSON, dbid=101, mask=999)]),
            ErrorCode.VALUE_OUT_OF_RANGE,
        ),
    ],
)
async def test_a_wrong_update_of_permissions_changes_nothing(
    url: str, request_: wire.UpdatePermissions, code: ErrorCode
) -> None:
    async with master_site(url) as site, site.client() as client:
        connection = await client.connection()
        async with refused(code):
            await connection.request(MessageId.UPDATE_PERMISSIONS, request_)
        assert (await client.administration.permissions(CfgPerson, 101)).source == (0, 0)


@pytest.mark.parametrize("account", [(SKILL, 101), (PERSON, 999), (APPLICATION, 999)])
async def test_permissions_of_an_account_that_is_none_are_refused(url: str, account: tuple[int, int]) -> None:
    async with master_site(url) as site, site.client() as client:
        with pytest.raises(ServerError) as caught:
            await client.administration.effective_mask(CfgPerson, 101, account=account)
        assert caught.value.code in (ErrorCode.INCORRECT_REFERENCES, ErrorCode.OBJECT_NOT_FOUND)


async def test_entries_of_deleted_persons_and_lists_of_deleted_objects_go(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        skill = await client.create(CfgSkill(tenantDBID=1, name="english"))
        other = await client.create(CfgPerson(tenantDBID=1, userName="x", employeeID="x"))
        await client.administration.update_permissions(
            CfgSkill, skill.DBID, {(PERSON, other.DBID): 1, (PERSON, 100): 127}
        )
        await client.administration.set_account(101, (PERSON, other.DBID))
        await client.delete(other)
        entries = (await client.administration.permissions(CfgSkill, skill.DBID)).entries
        assert entries == (AclEntry(PERSON, 100, 127),)
        assert await client.administration.account(101) == (ACCESS_GROUP, 98)
        await client.delete(skill)
    async with master_site(url) as site:
        assert isinstance(site.server.administration, MasterAdministration)
        assert site.server.cache.counts(records=True) == {**site.server.cache.counts(), 1100: 1}


async def test_clients_that_registered_for_it_are_told_of_changed_permissions(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        listening, deaf = Listening(), Listening()
        await listening.register(site)
        await deaf.register(site)
        for answer in (MessageId.PERMISSIONS_NOTIFICATION_REGISTERED,) * 2:
            assert (await listening.ask(MessageId.REGISTER_PERMISSIONS_NOTIFICATION)).message == answer
        await client.administration.update_permissions("tenant", 1, {(PERSON, 101): 1}, recursive=True)
        frame = await listening.next(MessageId.PERMISSIONS_CHANGED)
        assert (frame.request, frame.flags, frame.uen) == (0, 0, site.server.position.uen)
        assert decode_payload(wire.PermissionsChanged, frame.payload) == wire.PermissionsChanged(
            type=TENANT, dbid=1, recursive=True, user="default", application="default"
        )
        answered = await listening.ask(MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION)
        assert answered.message == MessageId.PERMISSIONS_NOTIFICATION_UNREGISTERED
        again = await listening.ask(MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION)
        assert codec.decode_map(again.payload)["code"] == ErrorCode.LIST_ITEM_NOT_FOUND
        await client.administration.update_permissions("tenant", 1, None)
        await deaf.ask(MessageId.PING)
        await listening.ask(MessageId.PING)
        for one in (listening, deaf):
            assert MessageId.PERMISSIONS_CHANGED not in {frame.message for frame in one.frames}


async def test_a_restored_session_is_still_told_of_changed_permissions(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        listening = Listening()
        registered = await listening.register(site)
        await listening.ask(MessageId.REGISTER_PERMISSIONS_NOTIFICATION)
        session = codec.decode_map(registered.payload)["session"]
        restored = Listening()
        await restored.register(site, session=session)
        await client.administration.update_permissions("tenant", 1, {(PERSON, 101): 1})
        await restored.next(MessageId.PERMISSIONS_CHANGED)


async def test_a_client_that_takes_nothing_is_not_told_for_ever(url: str) -> None:
    async with master_site(url, max_client_output_bytes=10_000) as site, site.client() as client:
        listening = Listening()
        await listening.register(site)
        await listening.ask(MessageId.REGISTER_PERMISSIONS_NOTIFICATION)
        assert listening.channel is not None
        listening.channel.pause()
        for _ in range(8):
            listening.channel.write(listening.protocol.request(MessageId.SCHEMA_FILE, b"")[1])
        with anyio.fail_after(5):
            while not site.server.statistics().congested:  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.001)
        await client.administration.update_permissions("tenant", 1, {(PERSON, 101): 1})
        listening.channel.resume()
        notice = await listening.next(MessageId.DISCONNECTED)
        assert "too slowly" in codec.decode_map(notice.payload)["description"]


# accounts and the operational mode


async def test_an_application_acts_as_system_until_it_gets_an_account_that_survives_a_restart(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        admin = client.administration
        assert await admin.account(101) == (ACCESS_GROUP, 98)
        await admin.set_account(101, (PERSON, 101))
        async with refused(ErrorCode.OBJECT_NOT_FOUND, "application 999"):
            await admin.account(999)
        async with refused(ErrorCode.INCORRECT_REFERENCES, "person 999 does not exist"):
            await admin.set_account(101, (PERSON, 999))
    async with master_site(url) as site, site.client() as client:
        assert await client.administration.account(101) == (PERSON, 101)
        await client.administration.set_account(101, (ACCESS_GROUP, 98))
    async with master_site(url) as site, site.client() as client:
        assert await client.administration.account(101) == (ACCESS_GROUP, 98)


async def test_in_read_only_mode_every_change_is_error_29_also_after_a_restart(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        assert await client.administration.operational_mode() == 1
        await client.administration.set_operational_mode(2)
    async with master_site(url) as site, site.client() as client:
        admin = client.administration
        assert await admin.operational_mode() == 2
        uen = site.server.position.uen
        jane = await client.get(CfgPerson, 101)
        changed = await client.get(CfgPerson, 101)
        changed.lastName = "Doe"
        code = ErrorCode.READ_ONLY_OPERATIONAL_MODE_ACTIVATED
        async with refused(code):
            await client.create(CfgSkill(tenantDBID=1, name="english"))
        async with refused(code):
            await client.update(jane, changed)
        async with refused(code):
            await client.delete(jane)
        async with refused(code):
            await client.apply([CreateWrite("skill", {"tenantDBID": 1, "name": "english"})])
        async with refused(code):
            await admin.update_permissions(CfgPerson, 101, {})
        async with refused(code):
            await admin.set_account(101, (PERSON, 101))
        async with refused(code):
            await admin.change_password("jane", "secret", "other")
        assert site.server.position.uen == uen
        assert await client.authenticate("jane", "secret") == 101
        await admin.set_operational_mode(1)
        await client.create(CfgSkill(tenantDBID=1, name="english"))


async def test_no_write_that_waited_is_carried_out_after_the_mode_was_set(url: str) -> None:
    """What is under way when the mode is asked for is done or refused before the mode is answered."""
    async with master_site(url) as site, site.client() as client:
        outcomes: list[int] = []
        reached = -1

        async def create(n: int) -> None:
            async with site.client() as writer:
                try:
                    await writer.create(CfgSkill(tenantDBID=1, name=f"skill {n}"))
                except ServerError as e:
                    outcomes.append(int(e.code))
                else:
                    outcomes.append(0)

        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(create, n)
            while not outcomes:  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.001)
            await client.administration.set_operational_mode(2)
            reached = site.server.position.uen
        refusals = outcomes.count(ErrorCode.READ_ONLY_OPERATIONAL_MODE_ACTIVATED)
        assert site.server.position.uen == reached == outcomes.count(0) == 20 - refusals


@pytest.mark.parametrize("message", [MessageId.READ_OPERATIONAL_MODE, MessageId.GET_BRIEF_INFO])
async def test_an_answer_waits_for_the_position_that_it_must_reflect(url: str, message: MessageId) -> None:
    async with master_site(url) as site, site.client() as client, site.client() as other:
        connection = await client.connection()
        now = site.server.position
        payload = ReadObjects(type=PERSON) if message == MessageId.GET_BRIEF_INFO else b""
        answers: list[Frame] = []

        async def ask() -> None:
            answers.append(await connection.request(message, payload, minimum=Position(now.epoch, now.uen + 1)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert not answers
            await other.create(CfgSkill(tenantDBID=1, name="english"))
        assert answers[0].uen == now.uen + 1


async def test_in_emergency_mode_only_super_administrators_change_anything(url: str) -> None:
    async with master_site(url) as site, site.client() as client, site.client(user="jane") as jane:
        await client.administration.set_operational_mode(3)
        async with refused(ErrorCode.READ_ONLY_OPERATIONAL_MODE_ACTIVATED, "emergency"):
            await jane.create(CfgSkill(tenantDBID=1, name="english"))
        await client.create(CfgSkill(tenantDBID=1, name="english"))


@pytest.mark.parametrize("mode", [0, 4, -1])
async def test_a_mode_that_is_none_is_error_30(url: str, mode: int) -> None:
    async with master_site(url) as site, site.client() as client:
        async with refused(ErrorCode.SET_OPERATIONAL_MODE_FAILED, "valid are 1"):
            await client.administration.set_operational_mode(mode)
        assert await client.administration.operational_mode() == 1


async def test_what_a_fenced_master_could_not_write_is_not_in_force(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        with Store.open(url, reading=True) as usurper:
            usurper.begin_epoch(99)
        async with refused(ErrorCode.NO_DB_ACCESS, "another master"):
            await client.administration.set_operational_mode(2)
        async with refused(ErrorCode.NO_DB_ACCESS, "another master"):
            await client.administration.update_permissions(CfgPerson, 101, {})
        assert await client.administration.operational_mode() == 1
        assert (await client.administration.permissions(CfgPerson, 101)).source == (0, 0)


# brief info, schema, locale


async def test_brief_info_is_what_people_choose_persons_tenants_and_groups_by(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        brief = client.administration.brief
        assert await brief(CfgPerson, user_name="jane") == [
            {"ID": {"DBID": 101, "type": PERSON}, "userName": "jane", "firstName": "Jane"}
        ]
        assert await brief("tenant") == [{"ID": {"DBID": 1, "type": TENANT}, "name": "Environment"}]
        assert {"ID": {"DBID": 97, "type": ACCESS_GROUP}, "name": "EVERYONE"} in await brief("accessGroup")
        assert await brief(CfgPerson, user_name="nobody") == []
        async with refused(ErrorCode.UNSUPPORTED_OBJECT, "no brief form of skills"):
            await brief(CfgSkill)
        async with refused(ErrorCode.WRONG_API_PARAMETERS, "colour"):
            await brief(CfgPerson, colour=1)


async def test_brief_info_of_many_comes_in_parts_from_one_snapshot(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "many.db")
    people = [person(dbid, f"p{dbid}") for dbid in range(1000, 3000)]
    create_configuration(
        url, [*well_known_objects(), *people], release="1", password_hashes={(PERSON, 100): cheap_hash("secret")}
    )
    async with master_site(url) as site, site.client() as client:
        connection = await client.connection()
        opened = await connection.request(MessageId.OPEN_SNAPSHOT)
        snapshot = decode_payload(SnapshotHandle, opened.payload).snapshot
        await client.delete(CfgPerson, 1000)
        parts: list[Frame] = []
        request = ReadObjects(type=PERSON, snapshot=snapshot)
        end = await connection.request(MessageId.GET_BRIEF_INFO, request, on_part=parts.append)
        assert codec.decode_map(end.payload)["total"] == 2001
        assert {(frame.epoch, frame.uen) for frame in [*parts, end]} == {(opened.epoch, opened.uen)}
        assert len(parts) > 1
        assert len(await client.administration.brief(CfgPerson)) == 2000


@pytest.mark.parametrize(
    ("locale", "expected"),
    [("UTF-8", ["Ada", "Zoë", "aaron", "Änne"]), ("de_DE", ["aaron", "Ada", "Änne", "Zoë"])],
)
async def test_brief_info_is_sorted_by_name_in_the_order_of_the_servers_locale(
    tmp_path: Path, locale: str, expected: list[str]
) -> None:
    url = sqlite_url(tmp_path / "many.db")
    people = [person(1000 + n, f"{name}{n % 5}") for n, name in enumerate(["Zoë", "Änne", "aaron", "Ada"] * 300)]
    objects = [*well_known_objects(), *people]
    create_configuration(url, objects, release="1", password_hashes={(PERSON, 100): cheap_hash("secret")})
    async with master_site(url) as site:
        site.server.collation = collation(locale)
        async with site.client() as client:
            found = await client.administration.brief(CfgPerson)
            names = [each["userName"] for each in found if each["ID"]["DBID"] != 100]
            assert len(names) == 1200
            assert list(dict.fromkeys(names)) == [f"{name}{n}" for name in expected for n in range(5)]
            dbids = [each["ID"]["DBID"] for each in found if each["userName"] == "Ada3"]
            assert dbids == sorted(dbids)
            registered = client._link.session.registered
            assert registered is not None
            assert registered.parameters == ({} if locale == "UTF-8" else {"locale": locale})
            assert [each.DBID for each in await client.read(CfgPerson)] == sorted(client_dbids(people))


def client_dbids(people: Sequence[tuple[int, dict[str, Any], int]]) -> list[int]:
    return [100, *(obj["DBID"] for _, obj, _ in people)]


async def test_the_schema_file_is_what_the_schema_info_says(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        connection = await client.connection()
        info = decode_payload(wire.SchemaInfo, (await connection.request(MessageId.READ_SCHEMA_INFO)).payload)
        file = decode_payload(wire.SchemaFileSent, (await connection.request(MessageId.SCHEMA_FILE)).payload)
        assert info.version == file.version == site.server.schema_version
        assert info.size == len(file.content)
        assert len(info.digest) == 64
        assert len(json.loads(file.content)["objects"]) == len(SCHEMA.types)


async def test_locale_items_are_read_by_language_and_name(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        connection = await client.connection()
        sets = decode_payload(wire.LocaleSets, (await connection.request(MessageId.GET_LOCALE_SETS)).payload).sets
        frame = await connection.request(MessageId.READ_LOCALE, wire.ReadLocale(set=sets[0].id))
        assert sets[0].items == len(decode_payload(wire.LocaleRead, frame.payload).items) > 100
        frame = await connection.request(MessageId.READ_LOCALE, wire.ReadLocale(set=sets[0].id, items=["object.3"]))
        assert decode_payload(wire.LocaleRead, frame.payload).items == {"object.3": "Person"}
        async with refused(ErrorCode.LOCALE_ITEM_NOT_FOUND):
            await connection.request(MessageId.READ_LOCALE, wire.ReadLocale(set=4711))


# permission to change


async def test_who_may_not_change_is_refused_and_nothing_happens(url: str) -> None:
    async with master_site(url) as site, site.client() as admin, site.client(user="jane") as jane:
        skill = await admin.create(CfgSkill(tenantDBID=1, name="english"))
        renamed = msgspec.structs.replace(skill, name="x")
        before = site.server.position
        for write in (
            jane.create(CfgSkill(tenantDBID=1, name="german")),
            jane.update(skill, renamed),
            jane.delete(skill),
            jane.apply([CreateWrite(SKILL, {"name": "french", "tenantDBID": 1})]),
            jane.administration.permissions(CfgSkill, skill.DBID),
            jane.administration.update_permissions(CfgSkill, skill.DBID, {(PERSON, 101): 127}),
            jane.administration.set_account(101, (PERSON, 101)),
            jane.administration.set_operational_mode(2),
        ):
            async with refused(ErrorCode.NO_PERMISSION, "no permission to"):
                await write
        assert site.server.position == before
        await admin.administration.update_permissions(CfgSkill, skill.DBID, {(PERSON, 101): 127})
        await jane.update(skill, renamed)
        await admin.administration.update_permissions(CfgSkill, skill.DBID, None)
        async with refused(ErrorCode.NO_PERMISSION):
            await jane.update(renamed, skill)


async def test_an_application_without_user_may_do_what_its_account_may(url: str) -> None:
    daemon = {"user": "", "password": "", "application": "proxy1", "application_type": CfgAppType.CFGConfigServer}
    async with master_site(url) as site, site.client() as admin, site.client(**daemon) as client:
        skill = await client.create(CfgSkill(tenantDBID=1, name="english"))
        await admin.administration.set_account(101, (PERSON, 101))
        async with refused(ErrorCode.NO_PERMISSION):
            await client.delete(skill)


# passwords


async def test_a_changed_password_counts_at_once_and_after_a_restart(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        await client.administration.change_password("jane", "secret", "Zürich")
        assert await client.authenticate("jane", "Zürich") == 101
        async with refused(ErrorCode.LOGIN_INCORRECT):
            await client.authenticate("jane", "secret")
    async with master_site(url) as site, site.client(user="jane", password="Zürich") as client:
        assert await client.administration.operational_mode() == 1


@pytest.mark.parametrize(
    ("user", "old", "new", "code"),
    [
        ("jane", "wrong", "other", ErrorCode.CHANGE_PASSWORD_DENIED),
        ("nobody", "secret", "other", ErrorCode.CHANGE_PASSWORD_DENIED),
        ("jane", "secret", "secret", ErrorCode.CHANGE_PASSWORD_DENIED),
        ("jane", "secret", "", ErrorCode.EMPTY_PASSWORD_DENIED),
    ],
)
async def test_a_password_is_not_changed(url: str, user: str, old: str, new: str, code: ErrorCode) -> None:
    async with master_site(url) as site, site.client() as client:
        async with refused(code):
            await client.administration.change_password(user, old, new)
        assert await client.authenticate("jane", "secret") == 101


async def test_a_user_who_must_change_the_password_registers_with_a_new_one(url: str) -> None:
    async with master_site(url) as site:
        async with refused(ErrorCode.USER_MUST_CHANGE_PASSWORD, "RegisterClient2"), site.client(user="new"):
            raise AssertionError("registered")
        async with refused(ErrorCode.LOGIN_INCORRECT), site.client(user="new", password="wrong"):
            raise AssertionError("registered")
        async with (
            refused(ErrorCode.CHANGE_PASSWORD_DENIED, "differ"),
            site.client(user="new", new_password="secret"),
        ):
            raise AssertionError("registered")
        async with site.client(user="new", new_password="mine") as client:
            person = await client.get(CfgPerson, 102)
            assert person.changePasswordOnNextLogin == 1
        async with site.client(user="new", password="mine") as client:
            assert await client.authenticate("new", "mine") == 102


async def test_register_client_2_without_a_user_is_refused(url: str) -> None:
    async with master_site(url) as site:
        options = {"user": "", "password": "", "new_password": "x", "application": "proxy1"}
        async with (
            refused(ErrorCode.WRONG_API_PARAMETERS, "user name"),
            site.client(**options, application_type=CfgAppType.CFGConfigServer),
        ):
            raise AssertionError("registered")


# at a proxy, and at a server that keeps nothing


async def test_a_proxy_asks_its_master_for_what_it_does_not_hold_and_refuses_changes(url: str) -> None:
    async with master_site(url) as site, proxy_of(site), site.client() as at_master, site.client("proxy") as client:
        admin = client.administration
        await at_master.administration.update_permissions(CfgPerson, 101, {SYSTEM: 127, (PERSON, 100): 33})
        entries = (AclEntry(PERSON, 100, 33), AclEntry(*SYSTEM, 127))
        assert await admin.permissions(CfgPerson, 101) == (entries, (PERSON, 101))
        assert await admin.account(101) == (ACCESS_GROUP, 98)
        assert await admin.operational_mode() == 1
        async with refused(ErrorCode.OBJECT_NOT_FOUND):
            await admin.permissions(CfgPerson, 999)
        for change in (
            admin.update_permissions(CfgPerson, 101, {}),
            admin.set_account(101, (PERSON, 101)),
            admin.set_operational_mode(2),
        ):
            async with refused(ErrorCode.ACCESS_DENIED, "master"):
                await change
        async with refused(ErrorCode.CHANGE_PASSWORD_DENIED, "read-only"):
            await admin.change_password("jane", "secret", "other")
        assert len(await admin.brief(CfgPerson)) == 3


async def test_clients_of_a_proxy_are_told_of_changed_permissions_as_well(url: str) -> None:
    async with master_site(url) as site, proxy_of(site), site.client() as client:
        listening, deaf = Listening(), Listening()
        await listening.register(site, "proxy")
        await deaf.register(site, "proxy")
        answer = await listening.ask(MessageId.REGISTER_PERMISSIONS_NOTIFICATION)
        assert answer.message == MessageId.PERMISSIONS_NOTIFICATION_REGISTERED

        async def told() -> tuple[int, int, str, str]:
            frame = await listening.next(MessageId.PERMISSIONS_CHANGED)
            news = decode_payload(wire.PermissionsChanged, frame.payload)
            assert (frame.request, frame.flags, news.recursive) == (0, 0, False)
            return news.type, news.dbid, news.user, news.application

        admin = client.administration
        await admin.update_permissions(CfgPerson, 101, {(PERSON, 100): 127, SYSTEM: 127})
        assert await told() == (PERSON, 101, "default", "default")
        await admin.update_permissions("tenant", 1, {(PERSON, 100): 127, SYSTEM: 127}, recursive=True)
        assert {await told() for _ in range(2)} == {
            (PERSON, 101, "default", "default"),
            (TENANT, 1, "default", "default"),
        }
        skill = await client.create(CfgSkill(tenantDBID=1, name="english"))
        await admin.update_permissions(CfgSkill, skill.DBID, {(PERSON, 100): 127, SYSTEM: 127})
        assert (await told())[:2] == (SKILL, skill.DBID)
        await client.delete(skill)  # its list goes with it
        await admin.set_account(100, (PERSON, 101))  # not the proxy's own, which would lose sight of much
        await admin.update_permissions("tenant", 1, None)
        assert (await told())[:2] == (TENANT, 1)
        await listening.ask(MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION)
        await admin.update_permissions("tenant", 1, {(PERSON, 100): 127, SYSTEM: 127})
        for one in (listening, deaf):
            await one.ask(MessageId.PING)
            assert MessageId.PERMISSIONS_CHANGED not in {frame.message for frame in one.frames}


async def test_a_proxy_evaluates_the_caller_and_not_itself(url: str) -> None:
    async with master_site(url) as site, proxy_of(site), site.client("proxy", user="jane") as jane:
        assert await jane.administration.effective_mask(CfgPerson, 101) == 1 + 8
        assert await jane.administration.effective_mask(CfgPerson, 101, account=(PERSON, 100)) == 127


async def test_lists_and_accounts_reach_a_proxy_as_changes_and_with_its_load(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        await client.administration.update_permissions("folder", PERSON, {(PERSON, 101): 1, (ACCESS_GROUP, 98): 127})
        skill = await client.create(CfgSkill(tenantDBID=1, name="english"))
        async with proxy_of(site) as source, site.client("proxy") as reader:
            await client.administration.update_permissions(CfgSkill, skill.DBID, {(PERSON, 100): 127, SYSTEM: 1})
            await client.administration.set_account(100, (PERSON, 101))
            position = site.server.position
            with anyio.fail_after(5):
                while source.statistics().position != position:  # noqa: ASYNC110 - nothing announces it
                    await anyio.sleep(0.001)
            site.network.partition("proxy", "master")
            admin = reader.administration
            assert (await admin.permissions(CfgPerson, 101)).source == (FOLDER, PERSON)
            assert (await admin.permissions(CfgSkill, skill.DBID)).source == (SKILL, skill.DBID)
            assert await admin.account(100) == (PERSON, 101)
            assert await admin.effective_mask(CfgPerson, 102, account=(APPLICATION, 100)) == 1


async def test_a_list_goes_with_its_object_in_the_same_transaction(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        skill = await client.create(CfgSkill(tenantDBID=1, name="english"))
        await client.administration.update_permissions(CfgSkill, skill.DBID, {(PERSON, 100): 127})
        before = site.server.position.uen
        assert site.server.cache.count(1000 + SKILL) == 1
        await client.delete(skill)
        assert site.server.cache.count(1000 + SKILL) == 0
        assert site.server.position.uen == before + 2
        with pytest.raises(ServerError) as caught:
            await (await client.connection()).request(MessageId.READ_OBJECTS, ReadObjects(type=1000 + SKILL))
        assert caught.value.code == ErrorCode.UNSUPPORTED_OBJECT


async def test_without_its_master_a_proxy_refuses_for_now(url: str) -> None:
    async with master_site(url) as site, proxy_of(site) as source, site.client("proxy") as client:
        connection = await client.connection()
        site.network.partition("proxy", "master")
        site.network.cut("master")
        with anyio.fail_after(5):
            while source.state.value == "live":  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.001)
        with pytest.raises(RetryableError) as caught:
            await connection.request(MessageId.READ_OPERATIONAL_MODE)
        assert caught.value.code == ErrorCode.SERVER_NOT_FOUND


async def test_a_server_without_administration_says_so(url: str) -> None:
    async with master_site(url) as site, site.client() as client:
        site.server.administration = make_server("master").administration
        async with refused(ErrorCode.ACCESS_DENIED, "keeps no permissions"):
            await client.administration.operational_mode()
