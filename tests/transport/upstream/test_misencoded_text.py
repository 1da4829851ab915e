"""Bytes that are not UTF-8, from clients and from a master: refused by name and place, and nobody else notices."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest
from upstream_world import EPOCH, PROXY, SKILL, World, assert_same, base_objects, make_world, skill, until

from csproxy.core import codec
from csproxy.core.changes import Action, Epoch, Position
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.model.enumerations import CfgAppType
from csproxy.errors import ConfigurationError, ConnectionLostError, ErrorCode, ModelError, ServerError
from csproxy.transport.connection import Connection
from csproxy.transport.server_connection import ServerConnection
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.notifications import encode_notification
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import ClientRegistered, ProtocolVersionRead, RegisterClient

pytestmark = pytest.mark.anyio

MARK = "\x00?\x00"
LATIN_1 = b"Z\xfcrich"
WRONG = {"another encoding": (LATIN_1, 1), "half a surrogate pair": (b"x\xed\xa0\xbd", 1),
         "truncated": (b"\xe4\xb8\xad\xe6\x96", 3), "overlong": (b"a\xc0\xaf", 1)}  # fmt: skip
"""Bytes of a text, and the offset of the first that is wrong."""
REGISTER = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user="default", password="secret")


def packed(value: Any, wrong: bytes = LATIN_1) -> bytes:
    """The value in msgpack, ``wrong`` in place of the text MARK."""
    return codec.encode(value).replace(codec.encode(MARK), bytes((0xA0 | len(wrong),)) + wrong)


async def opened(world: World) -> Connection:
    connection = await Connection.open(await world.network.connector("desk")("master", 2020), "default")
    await connection.register(REGISTER)
    return connection


# what clients send

REQUESTS: list[tuple[MessageId, dict[str, Any], str, int, str]] = [
    (MessageId.CREATE_OBJECT, {"type": 3, "object": {"userName": MARK}}, "CfgPerson.userName", 3, "userName"),
    (MessageId.UPDATE_OBJECT, {"type": 13, "dbid": 5, "delta": {"userProperties": {"added": {"s": {"o": MARK}}}}},
     "CfgSkill.userProperties.added.s.o", 13, "userProperties.added.s.o"),
    (MessageId.UPDATE_OBJECT, {"type": 13, "dbid": 5, "delta": {"userProperties": {"added": {MARK: {"o": "v"}}}}},
     "a name in CfgSkill.userProperties.added", 13, "userProperties.added"),
    (MessageId.APPLY_TRANSACTION, {"changes": [{"message": 7, "type": 13, "object": {"name": MARK}}]}, "CfgSkill.name",
     13, "name"),
    (MessageId.READ_OBJECTS, {"type": 3, "filter": {"user_name": MARK}}, "CfgPerson.filter.user_name", 3,
     "filter.user_name"),
    (MessageId.GET_BRIEF_INFO, {"type": 3, "filter": {MARK: 1}}, "a name in CfgPerson.filter", 3, "filter"),
    (MessageId.AUTHENTICATE, {"user": MARK, "password": "p"}, "user", 0, "user"),
    (MessageId.CHANGE_PASSWORD, {"user": "default", "old_password": MARK, "new_password": "n"}, "old_password", 0,
     "old_password"),
]  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
async def test_a_client_is_told_what_it_sent_and_where_and_nobody_else_notices(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, first = WRONG[kind]
    async with make_world() as world:
        other, client = await opened(world), await opened(world)
        for message, payload, where, object_type, attribute in REQUESTS:
            data = packed(payload, wrong)
            with pytest.raises(ServerError) as caught:
                await client.request(message, data)
            error = caught.value
            assert (error.code, error.object_type, error.property_name) == (
                ErrorCode.UNSUPPORTED_ENCODING,
                object_type,
                attribute,
            )
            assert str(int(message)) in str(error).partition(":")[0]
            assert f": {where} is not UTF-8: byte 0x{wrong[first]:02x} at offset {first} of the text" in str(error)
            assert f"offset {data.index(wrong) + first} of the whole" in str(error)
        assert sum("sent a text that is not UTF-8" in text for text in caplog.messages) == len(REQUESTS)
        for each in (client, other):
            await each.request(MessageId.PING)
            await each.aclose()


async def test_a_client_that_logs_in_with_such_a_name_may_try_again() -> None:
    async with make_world() as world:
        client = await Connection.open(await world.network.connector("desk")("master", 2020), "default")
        data = packed({"type": int(CfgAppType.CFGSCE), "name": "default", "user": MARK, "password": "geheim"})
        with pytest.raises(ServerError, match=r"RegisterClient \(3\): user is not UTF-8: byte 0xfc at offset 1") as e:
            await client.request(MessageId.REGISTER_CLIENT, data)
        assert (e.value.code, "geheim" in str(e.value)) == (ErrorCode.UNSUPPORTED_ENCODING, False)
        await client.register(REGISTER)
        await client.aclose()


async def first_words(world: World, payload: bytes) -> str:
    """Open a connection whose ProtocolVersion is ``payload``; how the server ends it."""
    channel = await world.network.connector("desk")("master", 2020)
    client = Connection(channel)
    version = encode_frame(MessageId.PROTOCOL_VERSION, payload, request=1)
    channel.start(client)
    hello = client._protocol.connect("x")
    channel.write(hello[:8] + version)
    error = await client.wait_closed()
    await client.aclose()
    assert isinstance(error, ConnectionLostError)
    assert error.code is ErrorCode.UNSUPPORTED_ENCODING
    return str(error)


async def test_a_client_whose_first_words_are_no_utf_8_is_sent_away() -> None:
    async with make_world() as world:
        text = await first_words(world, packed({"client": MARK, "versions": [1]}))
        assert "ProtocolVersion: client is not UTF-8: byte 0xfc at offset 1 of the text, offset 10 of the who" in text
        text = await first_words(world, codec.encode({"versions": [1], "encoding": "ISO-8859-1"}))
        assert "announces encoding 'ISO-8859-1', which is not supported: use UTF-8 (error 41)" in text


async def test_a_client_that_registers_with_another_encoding_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with make_world() as world:
        client = await Connection.open(await world.network.connector("desk")("master", 2020), "default")
        for encoding in ("UTF-16", "latin-1", "", "utf-8-sig"):
            with pytest.raises(ServerError, match="is not supported: use UTF-8") as caught:
                await client.register(RegisterClient(type=19, name="default", user="default", encoding=encoding))
            assert caught.value.code is ErrorCode.UNSUPPORTED_ENCODING
        assert "it announces encoding 'UTF-16'" in caplog.text
        await client.register(msgspec.structs.replace(REGISTER, encoding="utf8"))
        await client.aclose()


async def test_half_a_surrogate_pair_is_refused_before_it_is_sent() -> None:
    async with make_world() as world:
        client = await opened(world)
        with pytest.raises(ModelError, match=r"offset 3 of 4 is half of a surrogate pair \(U\+D83D\)") as caught:
            await client.request(MessageId.AUTHENTICATE, RegisterClient(type=1, name="abc\ud83d"))
        assert caught.value.code is ErrorCode.UNSUPPORTED_ENCODING
        await client.request(MessageId.PING)
        await client.aclose()


# what a master sends


def fill(world: World, *, uen: int, wrong: bytes) -> None:
    """Put a data set in place that has an option value which is not UTF-8: nothing at this master looks at it."""
    builder = CacheBuilder(None)
    for number, obj, folder in base_objects():
        builder.add(number, [encode_object(SCHEMA.types[number], obj)], [folder])
    for n in range(3):
        options = {"s": {"o": MARK if n == 2 else "right"}}
        stored = encode_object(SCHEMA.types[SKILL], {**skill(n), "userProperties": options})
        builder.add(SKILL, [stored.replace(codec.encode(MARK), bytes((0xA0 | len(wrong),)) + wrong)], [SKILL])
    world.master.epoch = EPOCH
    world.master.server.replace(builder, Position(EPOCH, uen), [Epoch(EPOCH, 1)])


@pytest.mark.parametrize("kind", WRONG)
async def test_a_proxy_does_not_take_such_a_data_set_and_says_why(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    wrong, first = WRONG[kind]
    async with make_world() as world:
        fill(world, uen=100, wrong=wrong)
        async with world.source() as source:
            await until(lambda: source.statistics().losses > 1)
            assert world.sink.calls == []
            told = source.statistics().last_error
            assert "ObjectsRead (73): CfgSkill.userProperties.s.o is not UTF-8" in told
            assert f"byte 0x{wrong[first]:02x} at offset {first} of the text" in told
            assert told in caplog.text
            world.master.fill(base_objects(), uen=101)
            await source.wait_live()
            assert_same(world.master, world.sink)


async def test_a_proxy_with_data_keeps_it_until_the_master_has_it_right() -> None:
    async with make_world() as world, world.source() as source:
        await source.wait_live()
        before = world.sink.cache
        fill(world, uen=5000, wrong=LATIN_1)
        world.master.epoch = 99
        world.master.server.epochs[:] = [Epoch(99, 1)]
        for session in list(world.master.server.sessions):
            session.connection.disconnect(ErrorCode.FORCED_DISCONNECT, "come again")
        await until(lambda: "CfgSkill.userProperties.s.o is not UTF-8" in source.statistics().last_error)
        assert world.sink.cache is before


def notification(action: Action, payload: dict[str, Any], uen: int) -> bytes:
    return encode_notification(action, packed(payload), position=Position(EPOCH, uen), last=True)


@pytest.mark.parametrize(
    ("action", "payload", "where"),
    [
        (Action.CREATED, {"type": SKILL, "object": {"DBID": 101, "tenantDBID": 1, "name": "n", "userProperties": {
            "s": {"o": MARK}}}}, "CfgSkill.userProperties.s.o"),
        (Action.UPDATED, {"type": 9, "dbid": PROXY, "delta": {"version": MARK}}, "CfgApplication.version"),
        (Action.UPDATED, {"type": 9, "dbid": PROXY, "object": {"DBID": PROXY, "x": MARK}}, "CfgApplication.x"),
        (Action.DELETED, {"type": 9, "dbid": PROXY, "former": {"name": MARK}}, "CfgApplication.name"),
        (Action.UPDATED, {"type": 9, "dbid": PROXY, "delta": {"version": "2"}, "user": MARK}, "user"),
    ],
)  # fmt: skip
async def test_a_change_with_such_a_text_changes_nothing_and_the_proxy_goes_on(
    action: Action, payload: dict[str, Any], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "csproxy.upstream"):
        async with make_world() as world, world.source() as source:
            await source.wait_live()
            world.master.whisper(notification(action, payload, 101))
            await until(lambda: source.statistics().losses == 1)
            assert world.sink.transactions == []
            world.master.create_skills(1)
            await source.wait_live()
            await world.caught_up()
            assert_same(world.master, world.sink)
    assert f"notification {action.name} at UEN 101: {where} is not UTF-8: byte 0xfc at offset 1" in caplog.text


async def test_the_own_application_with_such_a_text_is_not_believed() -> None:
    async with make_world() as world:

        def wrong(connection: ServerConnection, frame: Frame) -> bool:
            payload = packed({"type": 9, "objects": [{"DBID": PROXY, "name": "proxy1", "version": MARK}]})
            connection.send(encode_frame(MessageId.OBJECTS_READ, payload, request=frame.request))
            connection.answer(frame, MessageId.OBJECTS_SENT)
            return False

        world.master.before_first(MessageId.READ_OBJECTS, wrong)
        async with world.source() as source:
            await until(lambda: source.statistics().losses == 1)
            assert "ObjectsRead (73): CfgApplication.version is not UTF-8" in source.statistics().last_error
            await source.wait_live()


@pytest.mark.parametrize("where", ["version", "registration"])
async def test_a_master_that_announces_another_encoding_is_not_followed(where: str) -> None:
    async with make_world() as world:

        def version(connection: ServerConnection, frame: Frame) -> None:
            connection.protocol.version_chosen(frame)
            payload = codec.encode(ProtocolVersionRead(version=1, encoding="ISO-8859-15"))
            connection.send(encode_frame(50, payload, request=frame.request, flags=FLAG_END))

        def registration(connection: ServerConnection, frame: Frame) -> None:
            answer = ClientRegistered(session="x", protocol_version=1, encoding="ISO-8859-15")
            connection.answer(frame, MessageId.CLIENT_REGISTERED, answer)

        if where == "version":
            world.master.override(MessageId.PROTOCOL_VERSION, version)
        else:
            world.master.override(MessageId.REGISTER_CLIENT, registration)
        with pytest.raises(ConfigurationError, match=r"announces encoding 'ISO-8859-15'.*use UTF-8 \(error 41\)"):
            async with world.source() as source:
                await source.wait_live()


async def test_a_server_does_not_blame_its_client_for_what_it_holds_itself(caplog: pytest.LogCaptureFixture) -> None:
    objects = [(number, {**obj, "address": {"addressLine1": MARK}} if number == 3 else obj, folder)
               for number, obj, folder in base_objects()]  # fmt: skip
    async with make_world(objects) as world:
        client = await opened(world)
        people = world.master.server.cache.objects(3)
        for dbid, stored in people.items():
            people[dbid] = stored.replace(codec.encode(MARK), b"\xa6" + LATIN_1)  # type: ignore[index]
        with pytest.raises(ServerError, match="an object of this server has a text that is not UTF-8") as caught:
            await client.request(MessageId.GET_BRIEF_INFO, ReadObjects(type=3))
        assert caught.value.code is ErrorCode.UNDEFINED_ERROR
        assert "sent a text" not in caplog.text
        await client.aclose()
