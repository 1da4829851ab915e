"""Neither passwords nor hashes come out of any door: everything that clients and logs get is searched for them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import anyio
import msgspec
import pytest
from password_site import APP_PASSWORD, PERSON, PasswordSite, Server, run_site

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA, CfgAppType
from csproxy.core.persistence.store import Store
from csproxy.core.transactions import RequestedChange
from csproxy.daemon.audit import export_audit
from csproxy.errors import CsproxyError
from csproxy.transport.connection import Connection
from csproxy.transport.history import MasterHistory
from csproxy.transport.master_administration import MasterAdministration
from csproxy.transport.wire.administration import ChangePassword, ReadObjectPermissions
from csproxy.transport.wire.exchanges import IMPLEMENTED_REQUESTS, REGISTRATIONS
from csproxy.transport.wire.messages import PAYLOADS, MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import Authenticate, RegisterClient
from csproxy.transport.wire.subscriptions import ResumeFrom, Subscription
from csproxy.transport.wire.writes import ApplyTransaction, CreateObject, DeleteObject, UpdateObject

OLD, NEW, APPLIED = "Pa55-of-old", "Pa55-of-new", "Pa55-applied"


class Hearing(Connection):
    """A connection that writes down every byte it is sent."""

    heard: ClassVar[list[bytes]] = []

    def receive(self, data: bytes) -> None:
        self.heard.append(bytes(data))
        super().receive(data)


async def connect(site: PasswordSite, where: Server) -> Connection:
    channel = await site.network.connector("desk")(where.name, 2020)
    connection = await Hearing.open(channel, "default")
    request = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user="default", password="secret")
    await connection.register(request)
    return connection


async def ask(connection: Connection, message: MessageId, payload: msgspec.Struct | bytes = b"", **more: Any) -> None:
    """Ask, and take a refusal for an answer: it is searched like any other."""
    try:
        await connection.request(message, payload, timeout_s=30.0, **more)
    except CsproxyError:
        if connection.error is not None:
            raise


async def try_every_door(connection: Connection, epoch: int) -> None:
    """Every request there is: without fields, and those that read with fields that find the most."""
    for number in sorted(IMPLEMENTED_REQUESTS - REGISTRATIONS - {MessageId.PROTOCOL_VERSION}):
        required = {
            field.encode_name: 0 if field.type is int else ""
            for field in msgspec.structs.fields(PAYLOADS[number])
            if field.required
        }
        await ask(connection, MessageId(number), codec.encode(required))
    for kind in SCHEMA.types:
        await ask(connection, MessageId.READ_OBJECTS, ReadObjects(type=kind, filter={"object_path": 1}))
        await ask(connection, MessageId.GET_BRIEF_INFO, ReadObjects(type=kind))
    for name in ("password", "hash"):
        await ask(connection, MessageId.READ_OBJECTS, ReadObjects(type=PERSON, filter={name: NEW[:1]}))
    await ask(connection, MessageId.READ_OBJECT_PERMISSIONS, ReadObjectPermissions(type=PERSON, dbid=100))
    for user, password in (("default", "wrong"), ("default", "secret")):
        await ask(connection, MessageId.AUTHENTICATE, Authenticate(user=user, password=password))
    resume = ResumeFrom(subscriptions=[Subscription()])
    await ask(connection, MessageId.RESUME_FROM, resume, minimum=Position(epoch, 0))


async def change_passwords(connection: Connection) -> None:
    """Every request that carries passwords, done and refused."""
    person = {"userName": "jane", "employeeID": "jane", "tenantDBID": 1, "password": OLD}
    await ask(connection, MessageId.CREATE_OBJECT, CreateObject(type=PERSON, object=person))
    await ask(connection, MessageId.CREATE_OBJECT, CreateObject(type=PERSON, object=person))
    change = ChangePassword(user="jane", old_password=OLD, new_password=NEW)
    for _ in range(2):
        await ask(connection, MessageId.CHANGE_PASSWORD, change)
    await ask(connection, MessageId.CHANGE_PASSWORD, ChangePassword(user="jane", old_password=NEW, new_password=OLD))
    delta = {"password": APPLIED, "firstName": "Jane"}
    changes = [RequestedChange(message=8, type=PERSON, dbid=101, delta=delta)]
    await ask(connection, MessageId.APPLY_TRANSACTION, ApplyTransaction(changes=changes, key="k"))
    await ask(connection, MessageId.UPDATE_OBJECT, UpdateObject(type=PERSON, dbid=101, delta={"password": "short"}))
    await ask(connection, MessageId.UPDATE_OBJECT, UpdateObject(type=PERSON, dbid=999, delta={"password": NEW}))


def test_nothing_that_comes_out_holds_a_password_or_a_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Hearing.heard.clear()
    caplog.set_level(logging.DEBUG)
    hashes: set[str] = set()
    shown: list[str] = []

    async def scenario(site: PasswordSite) -> None:
        async with (
            site.running_master() as master,
            MasterHistory(site.database, "confserv", wall_clock=site.simulation.wall_clock) as history,
        ):
            master.server.history = history
            master.server.administration = await MasterAdministration.open(site.database, lambda: master.server.cache)
            await site.set_rules(password_no_repeats=5, password_min_length=6)
            async with site.running_proxy(folder=tmp_path) as proxy:
                clients = [await connect(site, where) for where in (master, proxy)]
                for client in clients:
                    await ask(client, MessageId.REGISTER_NOTIFICATION, Subscription())
                await change_passwords(clients[0])
                await anyio.sleep(3)
                assert (PERSON, 101) in proxy.book
                hashes.update(master.book.hashes.values(), proxy.book.hashes.values())
                for client in clients:
                    await change_passwords(client)
                    hashes.update(master.book.hashes.values(), proxy.book.hashes.values())
                    await try_every_door(client, master.server.position.epoch)
                for where in (master, proxy):
                    parts = where.server, where.passwords, where.passwords.log_ins, where.book, where.book.entry(101)
                    shown.append(repr((*parts, where.server.status(), where.server.statistics())))
                shown.append(repr((site.database, site.database.statistics())))
                await ask(clients[0], MessageId.DELETE_OBJECT, DeleteObject(type=PERSON, dbid=101))
                await anyio.sleep(3)
                for client in clients:
                    await client.aclose()
            with Store.open(site.url, reading=True) as store:
                export_audit(
                    store, tmp_path / "audit.xml", since_ms=0, now_ms=round(site.simulation.wall_clock() * 1000)
                )

    run_site(tmp_path / "config.db", scenario)
    assert len(hashes) > 3, "two Persons, two Applications, and newer ones"
    secrets = {*hashes, *(hash.rpartition("$")[2] for hash in hashes), OLD, NEW, APPLIED, APP_PASSWORD, "short"}
    doors = {
        "what clients were sent": b"".join(Hearing.heard),
        "the log": caplog.text.encode(),
        "reprs and statistics": repr(shown).encode(),
        "the audit": (tmp_path / "audit.xml").read_bytes(),
    }
    for door, content in doors.items():
        assert len(content) > 100, door
        assert not [secret for secret in secrets if secret.encode() in content], door
