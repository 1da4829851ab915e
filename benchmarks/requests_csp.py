"""Request templates of the csproxy protocol for the load generator, and a few questions to a server."""

from __future__ import annotations

import os
from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.model import CfgAppType, CfgPerson
from csproxy.transport.client import ConfigClient
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import RegisterClient
from csproxy.transport.wire.subscriptions import RegisterNotification

PERSON = 3
PLACEHOLDER = 0x23232323
"""As a msgpack uint32 it is written "####", which the generator replaces by a random number."""
STAMP = "@TTTTTTTTTTTTTTTTTTT"


def hello(*, subscribe: bool = False) -> bytes:
    """Everything a client sends before its work, without waiting: the generator drops the answers."""
    register = RegisterClient(
        type=int(CfgAppType.CFGSCE), name="default", user="default", password=os.environ.get("BENCH_PASSWORD", "x")
    )
    data = ClientProtocol().connect("bench", "")
    data += encode_frame(MessageId.REGISTER_CLIENT, codec.encode(register), request=2)
    if subscribe:
        wanted = RegisterNotification(object_type=PERSON)
        data += encode_frame(MessageId.REGISTER_NOTIFICATION, codec.encode(wanted), request=3)
    return data


def read_person() -> bytes:
    """A point read of a random person."""
    request = ReadObjects(type=PERSON, filter={"dbid": PLACEHOLDER})
    return encode_frame(MessageId.READ_OBJECTS, codec.encode(request), request=7)


def update_person(dbid: int) -> bytes:
    """A change of one person that carries the time it was sent, and enough text for about 500 bytes."""
    delta = {"emailAddress": STAMP + "c" * 200}
    payload = codec.encode({"type": PERSON, "dbid": dbid, "delta": delta})
    return encode_frame(MessageId.UPDATE_OBJECT, payload, request=7)


def status(port: int) -> dict[str, Any]:
    """The server's status."""

    async def ask() -> dict[str, Any]:
        async with _client(port) as client:
            return await client.status()

    return anyio.run(ask)


def person_dbids(port: int) -> tuple[int, int]:
    """The lowest and highest DBID of the agents, which have no gaps."""

    async def ask() -> tuple[int, int]:
        async with _client(port) as client:
            dbids = [person.DBID for person in await client.read(CfgPerson, is_agent=True)]
            return min(dbids), max(dbids)

    return anyio.run(ask)


def _client(port: int) -> ConfigClient:
    return ConfigClient(
        "127.0.0.1", port, application="default", application_type=CfgAppType.CFGSCE, user="default", password="x"
    )
