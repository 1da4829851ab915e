"""Answers that hold a text which is not UTF-8: the request fails and says where, the connection goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

from csproxy.core import codec
from csproxy.core.keepalive import KeepAlive
from csproxy.core.model import CfgPerson
from csproxy.errors import ConnectionLostError, ErrorCode, ModelError, RemoteProtocolError
from csproxy.transport.client import ConfigClient
from csproxy.transport.connection import Connection
from csproxy.transport.wire.frames import FLAG_END, Frame, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ObjectsSent, Status
from csproxy.transport.wire.registration import ClientRegistered, ProtocolVersionRead, RegisterClient
from tests.transport.client.scripted import AT_100, ScriptedConnection, ScriptedServer

pytestmark = pytest.mark.anyio

WRONG = codec.encode({"type": 3, "total": 1, "objects": [{"DBID": 1, "userName": "??"}]}).replace(b"??", b"a\xff")
UNKNOWN = WRONG.replace(b"\xa8userName", b"\xa8newerOne")


@asynccontextmanager
async def served(answer: bytes) -> AsyncIterator[ConfigClient]:
    """A client whose server answers the first read with ``answer`` as ObjectsRead, and later ones with nothing."""
    server = ScriptedServer()

    async def serve() -> None:
        peer = await server.next_connection()
        await peer.accept_client()
        frame = await peer.next_request(MessageId.READ_OBJECTS)
        peer.send(encode_frame(MessageId.OBJECTS_READ, answer, request=frame.request, epoch=AT_100.epoch, uen=100))
        peer.answer(frame, MessageId.OBJECTS_SENT, ObjectsSent(total=1))
        peer.answer(await peer.next_request(MessageId.READ_STATUS), MessageId.STATUS, Status(status={"a": 1}))
        await peer.client_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        async with ConfigClient("primary", user="default", connector=server.connect, keep_alive=KeepAlive()) as client:
            yield client
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("answer", "attribute"), [(WRONG, "userName"), (UNKNOWN, "newerOne")])
async def test_a_typed_read_says_which_attribute_and_the_connection_goes_on(answer: bytes, attribute: str) -> None:
    async with served(answer) as client:
        with pytest.raises(ModelError) as caught:
            await client.read(CfgPerson)
        assert (caught.value.code, caught.value.object_type) == (ErrorCode.UNSUPPORTED_ENCODING, 3)
        assert caught.value.property_name == attribute
        assert f"CfgPerson.{attribute} is not UTF-8: byte 0xff at offset 1 of the text" in str(caught.value)
        assert await client.status() == {"a": 1}


async def test_so_does_a_read_part_by_part() -> None:
    async with served(WRONG) as client:
        with pytest.raises(ModelError, match=r"CfgPerson\.userName is not UTF-8"):
            await anext(client.iterate(CfgPerson))
        assert await client.status() == {"a": 1}


async def opened(peer: ScriptedConnection) -> Connection:
    connection = await Connection.open(peer, "tests")
    await connection.register(RegisterClient(type=1, name="default", user="default"))
    return connection


async def test_what_a_callback_decodes_is_named_with_its_message() -> None:
    peer = ScriptedConnection()

    async def serve() -> None:
        await peer.accept_client()
        frame = await peer.next_request(MessageId.READ_OBJECTS)
        peer.send(encode_frame(MessageId.OBJECTS_READ, WRONG, request=frame.request))
        peer.answer(frame, MessageId.OBJECTS_SENT, ObjectsSent(total=1))
        peer.answer(await peer.next_request(MessageId.PING), MessageId.PONG)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        connection = await opened(peer)

        def part(frame: Frame) -> None:
            codec.decode_map(frame.payload)

        with pytest.raises(ModelError, match=r"ObjectsRead \(73\): CfgPerson\.userName is not UTF-8"):
            await connection.request(MessageId.READ_OBJECTS, b"\x81\xa4type\x03", on_part=part)
        await connection.request(MessageId.PING)
        connection.close()


@pytest.mark.parametrize("where", ["version", "registration", "text"])
async def test_a_server_that_does_not_speak_utf_8_is_refused(where: str) -> None:
    peer = ScriptedConnection()

    def send(frame: Frame, message: MessageId, payload: msgspec.Struct | bytes) -> None:
        body = payload if isinstance(payload, bytes) else codec.encode(payload)
        peer.send(encode_frame(message, body, request=frame.request, flags=FLAG_END))

    async def serve() -> None:
        frame = await peer.next_request(MessageId.PROTOCOL_VERSION)
        usual = peer.protocol.version_chosen(frame)
        if where == "version":
            send(frame, MessageId.PROTOCOL_VERSION_READ, ProtocolVersionRead(version=1, encoding="UTF-16"))
            return
        if where == "text":
            send(frame, MessageId.PROTOCOL_VERSION_READ, b"\x82\xa7version\x01\xa7release\xa2a\xff")
            return
        peer.send(usual)
        frame = await peer.next_request(MessageId.REGISTER_CLIENT)
        answer = ClientRegistered(session="x", protocol_version=1, encoding="UTF-16")
        send(frame, MessageId.CLIENT_REGISTERED, answer)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        with pytest.raises((ConnectionLostError, RemoteProtocolError)) as caught:
            await opened(peer)
    assert caught.value.code is ErrorCode.UNSUPPORTED_ENCODING
    words = "ProtocolVersionRead: release is not UTF-8: byte 0xff at offset 1" if where == "text" else "'UTF-16'"
    assert words in str(caught.value)
