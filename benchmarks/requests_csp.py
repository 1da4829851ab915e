"""Request templates of the csproxy protocol for the load generator, and a few questions to a server."""

from __future__ import annotations

from typing import Any

import anyio

from csproxy.core import codec
from csproxy.core.model import CfgAppType
from csproxy.transport.client import ConfigClient
from csproxy.transport.wire.client_protocol import ClientProtocol
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects
from csproxy.transport.wire.registration import RegisterClient, RestoreSession
from csproxy.transport.wire.subscriptions import RegisterNotification

PERSON, APPLICATION = 3, 9
PASSWORD = "x"
"""Of every user of a measured site."""
PLACEHOLDER = 0x23232323
"""As a msgpack uint32 it is written "####", which the generator replaces by a random number."""
STAMP = "@TTTTTTTTTTTTTTTTTTT"
SESSION = "%" * 32
"""What the generator replaces by the session id."""


def hello(*, subscribe: int = 0, user: str = "default") -> bytes:
    """Everything a client sends before its work, without waiting: the generator drops the answers.

    ``subscribe``: to a type of objects.
    """
    register = RegisterClient(type=int(CfgAppType.CFGSCE), name="default", user=user, password=PASSWORD)
    data = ClientProtocol().connect("bench", "")
    data += encode_frame(MessageId.REGISTER_CLIENT, codec.encode(register), request=2)
    if subscribe:
        wanted = RegisterNotification(object_type=subscribe)
        data += encode_frame(MessageId.REGISTER_NOTIFICATION, codec.encode(wanted), request=3)
    return data


def restore() -> bytes:
    """A client that comes back to its session and asks for what it missed."""
    again = RestoreSession(type=int(CfgAppType.CFGSCE), name="default", user="default", session=SESSION)
    data = ClientProtocol().connect("bench", "")
    return data + encode_frame(MessageId.RESTORE_SESSION, codec.encode(again), request=2)


def read(kind: int, **filter: Any) -> bytes:
    """A read of objects."""
    return encode_frame(MessageId.READ_OBJECTS, codec.encode(ReadObjects(type=kind, filter=filter)), request=7)


def read_person() -> bytes:
    """A point read of a random person."""
    return read(PERSON, dbid=PLACEHOLDER)


def update_person(dbid: int = PLACEHOLDER) -> bytes:
    """A change of one person that carries the time it was sent, and enough text for about 500 bytes."""
    delta = {"emailAddress": STAMP + "c" * 200, "firstName": "f" * 60, "lastName": "l" * 60, "externalID": "e" * 60}
    payload = codec.encode({"type": PERSON, "dbid": dbid, "delta": delta})
    return encode_frame(MessageId.UPDATE_OBJECT, payload, request=7)


def status(port: int) -> dict[str, Any]:
    """The server's status."""

    async def ask() -> dict[str, Any]:
        async with _client(port) as client:
            return await client.status()

    return anyio.run(ask)


def _client(port: int) -> ConfigClient:
    return ConfigClient(
        "127.0.0.1", port, application="default", application_type=CfgAppType.CFGSCE, user="default", password=PASSWORD
    )
