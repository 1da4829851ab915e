"""A master, a proxy and clients that keep copies of what they may read, for tests of permissions."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from csproxy.auth.passwords import Cost, hash_password
from csproxy.core import codec
from csproxy.core.changes import Action, Change, Position
from csproxy.core.failover import Endpoint
from csproxy.core.lease import Holder
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import apply_delta, encode_object
from csproxy.core.model.enumerations import CfgAppType
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.sessions import Account, Author
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import HistoryExpiredError, ServerError
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.permission_model import ACCESS_GROUP, FOLDER, PERSON, SKILL, TENANT, Id, Model
from csproxy.transport.connection import Connection
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.master_administration import MasterAdministration
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire import administration as wire
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ObjectsRead, ObjectsSent, ReadObjects
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.subscriptions import RegisterNotification, ResumeFrom, Subscription
from csproxy.transport.wire.writes import CreateObject, DeleteObject, UpdateObject

TYPES = (PERSON, TENANT, SKILL, ACCESS_GROUP, FOLDER, 9, 12, 10)
SUPER = Author("default", "default", 100)
_numbers = itertools.count(1)


class OpenDoor:
    """Every password is right: permissions are the matter here."""

    def __init__(self, server: ConfigurationServer) -> None:
        self._server = server

    async def authenticate(self, user: str, password: str) -> Account:
        dbid = self._server.cache.find(PERSON, userName=user)
        assert dbid is not None
        return Account(dbid, user)


def make_server(role: str, **options: Any) -> ConfigurationServer:
    server = ConfigurationServer(
        role=role,
        name="confserv" if role == "master" else "proxy1",
        authenticator=None,  # type: ignore[arg-type]
        writer=ReadOnlyWriter("this proxy is read-only"),
        random=lambda: 0.5,
        random_bytes=lambda n: next(_numbers).to_bytes(n, "big"),
        settings=ServerSettings(**options),
    )
    server.authenticator = OpenDoor(server)
    return server


class Site:
    """A master, a proxy, and what the test has done."""

    def __init__(self, network: MemoryNetwork, database: DatabaseMaster, master: ConfigurationServer) -> None:
        self.network = network
        self.database = database
        self.master = master
        self.proxy = master
        self.source: UpstreamSource | None = None
        self.model = Model()

    async def settle(self) -> None:
        """Wait until the proxy stands where the master stands."""
        with anyio.fail_after(30):
            while self.proxy.position != self.master.position:  # noqa: ASYNC110 - nothing announces it
                await anyio.sleep(0.001)

    # what an administrator does

    async def create(self, kind: int, obj: dict[str, Any], folder: int = 0) -> int:
        changes = await self.database.write(CreateObject(type=kind, object=obj, folder=folder), SUPER)
        return next(change.dbid for change in changes if change.type == kind)

    async def update(self, kind: int, dbid: int, delta: dict[str, Any]) -> None:
        await self.database.write(UpdateObject(type=kind, dbid=dbid, delta=delta), SUPER)

    async def delete(self, kind: int, dbid: int) -> None:
        before = {id for id in self.model.lists if self.master.cache.get(*id) is not None}
        await self.database.write(DeleteObject(type=kind, dbid=dbid), SUPER)
        for id in before:
            if self.master.cache.get(*id) is None:
                del self.model.lists[id]

    async def set_list(self, id: Id, entries: dict[Id, int] | None) -> None:
        request = wire.UpdatePermissions(
            type=id[0],
            dbid=id[1],
            entries=[wire.AccessEntry(type=who[0], dbid=who[1], mask=mask) for who, mask in (entries or {}).items()],
            inherit=entries is None,
        )
        await self.master.administration.answer(MessageId.UPDATE_PERMISSIONS, request, SUPER)
        if entries is None:
            self.model.lists.pop(id, None)
        else:
            self.model.lists[id] = entries


@asynccontextmanager
async def site(tmp_path: Path, **options: Any) -> AsyncIterator[Site]:
    url = sqlite_url(tmp_path / "config.db")
    create_configuration(
        url,
        [*well_known_objects(proxies=[("proxy1", 2021)])],
        release="1",
        password_hashes={},
    )
    async with (
        MemoryNetwork() as network,
        make_server("master", **options) as master,
        DatabaseMaster(
            url,
            master,
            holder=Holder("test"),
            random_epoch=lambda: next(_numbers) + 5,
            hash_password=partial(hash_password, cost=Cost(ln=4)),
        ) as database,
        make_server("proxy", **options) as proxy,
    ):
        master.administration = await MasterAdministration.open(database, lambda: master.cache)
        master.writer = database
        network.listen("master", 2020, master.connect)
        found = Site(network, database, master)
        # everybody may start the application, whatever becomes of other lists
        await found.set_list((9, 100), {(ACCESS_GROUP, 97): 8, (ACCESS_GROUP, 98): 127, (ACCESS_GROUP, 96): 127})
        async with UpstreamSource(proxy, network.connector("proxy"), [Endpoint("master", 2020)], "proxy1") as source:
            await source.wait_live()
            network.listen("proxy", 2020, proxy.connect)
            found.proxy, found.source = proxy, source
            yield found


class Follower:
    """A client that reads everything it may, follows it, and keeps a copy."""

    def __init__(self, site: Site, host: str, user: str, person: int) -> None:
        self.site = site
        self.host = host
        self.user = user
        self.account: Id = (PERSON, person)
        self.copy: dict[Id, bytes] = {}
        self.position = Position(0, 0)
        self.reloads = 0
        self._connection: Connection | None = None
        self._open: list[Change] = []

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    @property
    def server(self) -> ConfigurationServer:
        return self.site.master if self.host == "master" else self.site.proxy

    async def connect(self) -> None:
        channel = await self.site.network.connector(f"client {self.user}")(self.host, 2020)
        connection = await Connection.open(channel, "default", timeout_s=10)
        connection.on_change = lambda change: self._change(connection, change)
        connection.on_mark = lambda position: self._close(position, is_history=connection.from_history)
        self._connection = connection
        self._open = []
        await connection.register(
            RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user=self.user, password="x")
        )

    def disconnect(self) -> None:
        self.connection.close()
        self._connection = None

    async def start(self) -> None:
        """Read, then subscribe from there."""
        await self.connect()
        await self._read_all()

    async def _read_all(self) -> None:
        self.copy.clear()
        opened = await self.connection.request(MessageId.OPEN_SNAPSHOT)
        position = Position(opened.epoch, opened.uen)
        handle = codec.decode_map(opened.payload)["snapshot"]
        for kind in TYPES:
            for id, stored in (await self.read(kind, snapshot=handle)).items():
                self.copy[id] = stored
        self.position = position
        await self.connection.request(MessageId.REGISTER_NOTIFICATION, RegisterNotification(), minimum=position)

    async def resume(self) -> bool:
        """Come back after a loss; False when everything had to be read again."""
        await self.connect()
        try:
            await self.connection.request(
                MessageId.RESUME_FROM, ResumeFrom(subscriptions=[Subscription()]), minimum=self.position
            )
        except HistoryExpiredError:
            self.reloads += 1
            await self._read_all()
            return False
        return True

    async def read(self, kind: int, snapshot: int = 0, **filter: Any) -> dict[Id, bytes]:
        """The objects of an answer by id; folders without their members."""
        found: dict[Id, bytes] = {}
        totals = []

        def part(frame: Any) -> None:
            read = decode_payload(ObjectsRead, frame.payload)
            totals.append(read.total)
            for raw in read.objects:
                obj = codec.decode_map(bytes(raw))
                if kind == FOLDER:
                    for member in obj.pop("objectIDs", []):
                        assert snapshot or self.may_read((member["type"], member["DBID"])), "a hidden member"
                found[kind, obj["DBID"]] = encode_object(SCHEMA.types[kind], obj)

        end = await self.connection.request(
            MessageId.READ_OBJECTS, ReadObjects(type=kind, filter=filter, snapshot=snapshot), on_part=part
        )
        assert decode_payload(ObjectsSent, end.payload).total == len(found)
        assert set(totals) <= {len(found), -1}
        return found

    def may_read(self, id: Id) -> bool:
        return self.site.model.may_read(self.server.cache, self.account, id)

    async def catch_up(self) -> None:
        """All that was due has arrived when this returns: the answer comes after it."""
        nothing = RegisterNotification(object_type=SKILL, object_dbid=999_999)
        at = self.server.position
        await self.connection.request(MessageId.REGISTER_NOTIFICATION, nothing, minimum=at)
        await self.connection.request(MessageId.UNREGISTER_NOTIFICATION, nothing)

    async def check(self, rng: Random) -> None:
        """What the client has, reads and counts is what the model says."""
        await self.catch_up()
        cache, model = self.server.cache, self.site.model
        expected = model.visible(cache, self.account, TYPES)
        assert not self._open
        assert self.copy.keys() == expected.keys(), (
            self.user,
            self.host,
            sorted(self.copy.keys() - expected.keys()),
            sorted(expected.keys() - self.copy.keys()),
        )
        assert self.copy == expected
        for kind in TYPES:
            assert await self.read(kind) == {id: stored for id, stored in expected.items() if id[0] == kind}
        for kind in (PERSON, TENANT, ACCESS_GROUP):
            assert await self._brief(kind) == {dbid for number, dbid in expected if number == kind}
        for kind in TYPES:
            dbids = list(cache.dbids(kind))
            for dbid in rng.sample(dbids, min(3, len(dbids))):
                assert set(await self.read(kind, dbid=dbid)) == {(kind, dbid)} & expected.keys()
                await self._check_permissions((kind, dbid))
        for folder in cache.dbids(FOLDER):
            found = {dbid for _, dbid in await self.read(SKILL, folder_dbid=folder)}
            members = [id for id in cache.members_of(folder) if id[0] == SKILL]
            assert found == {id[1] for id in members if id in expected}

    async def _brief(self, kind: int) -> set[int]:
        found: set[int] = set()

        def part(frame: Any) -> None:
            read = decode_payload(wire.BriefInfo, frame.payload)
            found.update(codec.decode_map(bytes(raw))["ID"]["DBID"] for raw in read.objects)

        await self.connection.request(MessageId.GET_BRIEF_INFO, ReadObjects(type=kind), on_part=part)
        return found

    async def _check_permissions(self, id: Id) -> None:
        """An object that may not be read is as good as none."""
        if self.site.model.may_read(self.server.cache, self.account, id) or self.account == (PERSON, 100):
            return
        texts = set()
        for dbid in (id[1], 999_999):
            with pytest.raises(ServerError) as caught:
                await self.connection.request(MessageId.READ_PERMISSIONS, wire.ReadPermissions(type=id[0], dbid=dbid))
            texts.add((caught.value.code, caught.value.description.replace(str(dbid), "N")))
        assert len(texts) == 1

    # the stream

    def _change(self, connection: Connection, change: Change) -> None:
        self._open.append(change)
        if change.last:
            self._close(change.position, is_history=connection.from_history)

    def _close(self, position: Position, *, is_history: bool) -> None:
        for change in self._open:
            self._apply(change)
        self._open.clear()
        if not is_history:
            self.position = position

    def _apply(self, change: Change) -> None:
        id = change.type, change.dbid
        where = (self.user, self.host, change.position, change.action.name, id)
        assert change.type < 1000, where
        if change.type not in TYPES:
            return
        if change.action is Action.DELETED:
            assert id in self.copy, ("a deletion of what was not seen", *where)
            former = self.copy.pop(id)
            assert change.former in (None, former), ("a former object that was not seen", *where)
            return
        if change.action is Action.CREATED:
            assert id not in self.copy, ("a creation of what is there", *where)
            self.copy[id] = change.object or b""
            return
        assert id in self.copy, ("an update of what was not seen", *where)
        if change.object is not None:
            self.copy[id] = change.object
        elif change.delta is not None:
            delta = {name: value for name, value in change.delta.items() if name != "objectIDs"}
            kind = SCHEMA.types[change.type]
            self.copy[id] = encode_object(kind, apply_delta(kind, codec.decode_map(self.copy[id]), delta))
