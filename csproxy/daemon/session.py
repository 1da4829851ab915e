"""A registered connection for one command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

import anyio
import msgspec

from csproxy import __version__
from csproxy.core.model import SCHEMA, ObjectType
from csproxy.core.model.enumerations import CfgAppType
from csproxy.daemon.advice import advise_client
from csproxy.daemon.connection_flags import ConnectionFlags
from csproxy.daemon.usage import UsageError
from csproxy.errors import CsproxyError, ModelError
from csproxy.transport.blocking import run_blocking
from csproxy.transport.connection import Connection
from csproxy.transport.dial import connect_tcp
from csproxy.transport.tls_dial import TlsConnector
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ObjectsRead, ReadObjects
from csproxy.transport.wire.registration import ClientRegistered, RegisterClient
from csproxy.transport.wire.texts import check_texts

__all__ = ["object_type", "open_session", "read_raw", "run"]

_ResultT = TypeVar("_ResultT")
_decode_part = msgspec.msgpack.Decoder(ObjectsRead).decode

Part = Callable[[ObjectsRead], object]


def run(main: Callable[[], Awaitable[_ResultT]]) -> _ResultT:
    """Run a command's coroutine function."""
    return anyio.run(main, backend="asyncio")


def object_type(word: str) -> ObjectType:
    """The type that a command line names. Raises `UsageError` with close matches."""
    try:
        return SCHEMA.object_type(int(word) if word.isdigit() else word)
    except ModelError as e:
        raise UsageError(str(e)) from e


@asynccontextmanager
async def open_session(flags: ConnectionFlags) -> AsyncIterator[tuple[Connection, ClientRegistered]]:
    """Connect and log in; the connection is closed at the end.

    Raises `ConnectionLostError`, `TimedOutError`, `RemoteProtocolError` or `ServerError`.
    """
    connect = partial(connect_tcp, timeout_s=flags.timeout_s)
    connector = connect if flags.tls is None else TlsConnector(flags.tls, connect, timeout_s=flags.timeout_s)
    with _advised(flags):
        channel = await connector(flags.host, flags.port)
        connection = await Connection.open(channel, flags.application, timeout_s=flags.timeout_s)
    try:
        user, ticket = (flags.user, b"") if flags.tickets is None else await run_blocking(flags.tickets)
        request = RegisterClient(
            type=int(CfgAppType.CFGSCE),
            name=flags.application,
            user=user,
            password=flags.password,
            gss_token=ticket,
            release=__version__,
        )
        with _advised(flags):
            registered = await connection.register(request, timeout_s=flags.timeout_s)
        yield connection, registered
    finally:
        await connection.aclose()


@contextmanager
def _advised(flags: ConnectionFlags) -> Iterator[None]:
    try:
        yield
    except CsproxyError as e:
        advise_client(e, flags)
        raise


async def read_raw(
    connection: Connection,
    type_: ObjectType,
    filter_: dict[str, object],
    *,
    timeout_s: float,
    on_part: Part,
    consistent: bool = False,
) -> None:
    """Read the objects that fit the filter; ``on_part`` gets each part as it arrives, its texts checked."""

    def part(frame: Frame) -> None:
        check_texts(frame)
        on_part(_decode_part(frame.payload))

    await connection.request(
        MessageId.READ_OBJECTS,
        ReadObjects(type=type_.number, filter=filter_, consistent=consistent),
        timeout_s=timeout_s,
        on_part=part,
    )
